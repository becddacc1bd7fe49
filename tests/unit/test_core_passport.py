"""What a vm state can be resumed on."""

import pytest

from avocado_pool_plugin.core.passport import Mark, Passport, device_entries

MACHINE = {
    "QEMU version": "7.2.22",
    "machine type": "pc-i440fx-7.2",
    "accelerator": "kvm",
    "CPU model": "Haswell",
    "memory": "192 MiB",
    "device pci.0 0x2": "virtio-blk-pci",
}
MARKS = {"image1": Mark("abcd", "b3t1m:00", (1, 2, 3, 4)), "image2": Mark("ef01")}


def passport(**changed: str) -> Passport:
    return Passport.of({**MACHINE, **changed}, MARKS)


def test_read_back_as_written() -> None:
    mine = passport()
    assert Passport.load(mine.dump()) == mine


@pytest.mark.parametrize("data", [None, 1, "x", {}, {"machine": {}}, {"machine": 1, "images": {}}])
def test_what_is_no_passport_says_nothing(data: object) -> None:
    assert Passport.load(data) is None


def test_the_same_machine_has_no_mismatch() -> None:
    assert passport().mismatches(MACHINE) == []


@pytest.mark.parametrize("entry", [entry for entry in MACHINE if entry != "QEMU version"])
def test_each_other_entry_is_named_with_both_values(entry: str) -> None:
    assert passport().mismatches({**MACHINE, entry: "another"}) == [
        f"{entry} was {MACHINE[entry]}, now it is another"
    ]


def test_a_device_more_or_less_is_a_mismatch() -> None:
    more = {**MACHINE, "device pci.0 0x3": "virtio-net-pci"}
    assert passport().mismatches(more) == [
        "device pci.0 0x3 was not there, now it is virtio-net-pci"
    ]
    other = {**{k: v for k, v in more.items() if "0x2" not in k}}
    assert any("device pci.0 0x2" in text for text in passport().mismatches(other))


def test_devices_that_are_not_known_are_not_compared() -> None:
    known = {name: value for name, value in MACHINE.items() if not name.startswith("device ")}
    assert passport().mismatches(known) == []
    del known["CPU model"]
    assert passport().mismatches(known) == [], "nor is anything else that is not known"
    assert passport().mismatches({**known, "memory": "1 MiB"}) != []


@pytest.mark.parametrize(
    ("accelerator", "model", "now", "fits"),
    [
        ("kvm", "Haswell", "7.2.1", True),
        ("kvm", "Haswell", "9.0.0", True),
        ("kvm", "Haswell", "10.1.0", True),
        ("kvm", "Haswell", "7.1.99", False),
        ("kvm", "host", "9.0.0", True),  # the host's flags are an entry of their own
        ("tcg", "max", "7.2.1", True),
        ("tcg", "max", "8.0.0", False),
        ("tcg", "max,+avx", "8.0.0", False),
        ("tcg", "qemu64", "8.0.0", True),
    ],
)
def test_versions_of_qemu(accelerator: str, model: str, now: str, fits: bool) -> None:
    machine = {**MACHINE, "accelerator": accelerator, "CPU model": model}
    found = Passport.of(machine, MARKS).mismatches({**machine, "QEMU version": now})
    assert (found == []) is fits, found


def test_an_image_state_is_told_by_generation_or_content() -> None:
    mark = MARKS["image1"]
    assert mark.is_of("abcd", set())
    assert mark.is_of("other", {"b3t1m:00", None})
    assert not mark.is_of("other", {"b3t1m:11"})
    assert not Mark("").is_of("", {None}), "unknown is never the same as unknown"


def test_devices_at_no_certain_place_are_all_kept() -> None:
    found = device_entries(iter([("isa-serial", "isa-serial"), ("isa-serial", "isa-serial,x=1")]))
    assert sorted(found.values()) == ["isa-serial", "isa-serial,x=1"]
