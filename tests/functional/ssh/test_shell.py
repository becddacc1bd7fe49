"""What a far shell finds out about files is what this package finds out itself."""

import fcntl
import json
import os
import re
import struct
import subprocess
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from avocado_pool_plugin.core import layout, records, seen, users
from avocado_pool_plugin.core.errors import NameRefused, PoolUnreachable
from avocado_pool_plugin.core.qcow2 import in_use
from avocado_pool_plugin.core.seen import Seen
from avocado_pool_plugin.ssh.looks import Look
from tests.support import images
from tests.support.places import local_store, put, put_image
from tests.support.processes import lock_holder
from tests.support.shells import (
    NEEDED,
    ODD,
    TITLE,
    as_nobody,
    asked,
    far,
    shell,
    stamp_of,
    with_programs,
)

__all__ = ["shell"]


def known(path: Path, content: bytes = b"content") -> Path:
    """Set a state with everything that may lie beside it."""
    put(path, content)
    record = records.read_record(str(path))
    records.write_pending(str(path), replace(record, stamp=None), fsync=False)
    records.write_pending(str(path), record, fsync=False)
    seen.write_seen(str(path), Seen("b3t1m:00", "generation", stamp_of(path)), None)
    Path(layout.leaves_path(str(path))).write_bytes(bytes(range(256)) * 9)
    return path


def check(look: Look, path: Path, leaves: bool = False) -> None:
    """Compare a look at a file with what is there."""
    name = str(path)
    found = path.stat()
    assert look.path == name and look.stamp == stamp_of(path)
    assert look.regular and look.mode == found.st_mode & 0o7777
    assert (look.allocated, look.device) == (found.st_blocks * 512, found.st_dev)
    assert look.record == Path(layout.record_path(look.real)).read_bytes()
    assert [at for at, _ in look.pending] == records.pending_names(look.real)
    assert [text for _, text in look.pending] == [
        Path(at).read_bytes() for at in records.pending_names(look.real)
    ]
    assert look.seen == Path(layout.seen_path(look.real)).read_bytes()
    assert look.leaves == (Path(layout.leaves_path(look.real)).read_bytes() if leaves else None)
    assert look.header == (path.read_bytes()[:2048] if name.endswith(".qcow2") else b"")


# -- names ---------------------------------------------------------------------------------------


def test_names_are_those_of_the_local_store(shell, tmp_path):
    odd = [*ODD, "a\nb", "+end", "c\td", "\x01\x7f\x1b", os.fsdecode(bytes(range(128, 256))), '"q"']
    for name in [*odd, ".hidden", "x.lock", "y.part", ".pool"]:
        (tmp_path / name).touch()
    assert shell.names(str(tmp_path)) == local_store().names(str(tmp_path)) == sorted(odd)


@settings(max_examples=30)
@example(name="\\").via("an escape")
@given(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=60))
def test_any_name(tmp_path_factory, name):
    directory = tmp_path_factory.mktemp("names")
    (directory / f"_{name}").touch()
    with far() as one:
        assert one.names(str(directory)) == local_store().names(str(directory))


def test_thousands_of_names(shell, tmp_path):
    for number in range(20_000):
        os.close(os.open(tmp_path / f"state {number}.qcow2", os.O_CREAT))
    assert len(shell.names(str(tmp_path))) == 20_000


def test_no_directory_has_no_names(shell, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "dead").symlink_to("nowhere")
    for place in ("absent", "absent/deep", "file", "file/below", "dead", "dead/below"):
        assert shell.names(str(tmp_path / place)) == []
        assert shell.shelf(str(tmp_path / place / "x.qcow2")).states == {}
        assert shell.look([str(tmp_path / place / "x.qcow2")]).popitem()[1].stamp is None


@pytest.mark.parametrize("ask", ["names", "look", "shelf", "space"])
def test_what_cannot_be_reached_is_not_absent(shell, tmp_path, ask):
    (tmp_path / "loop").symlink_to("loop")
    path = str(tmp_path / "loop" / "x.qcow2")
    with pytest.raises(PoolUnreachable, match="Too many levels of symbolic links") as caught:
        getattr(shell, ask)([path] if ask == "look" else path)
    assert f"{TITLE}:{tmp_path}/loop" in str(caught.value)
    assert shell.names(str(tmp_path)) == ["loop"], "it still works"


@pytest.fixture
def nobody(tmp_path):
    os.chmod(tmp_path, 0o755)
    for above in tmp_path.parents[:-2]:
        os.chmod(above, os.stat(above).st_mode | 0o111)
    with far(as_nobody("dash")) as one:
        yield one


def test_what_may_not_be_read_is_not_absent(nobody, tmp_path):
    path = known(tmp_path / "vm" / "x.qcow2")
    (tmp_path / "vm").chmod(0o700)
    for ask in (nobody.names, nobody.shelf):
        with pytest.raises(PoolUnreachable, match="Permission denied"):
            ask(str(tmp_path / "vm" / "any"))
    with pytest.raises(PoolUnreachable, match=r"host far .*:.*x\.qcow2 can't be read.*denied"):
        nobody.look([str(path)])
    (tmp_path / "vm").chmod(0o711)
    with pytest.raises(PoolUnreachable, match="can't be listed"):
        nobody.names(str(tmp_path / "vm"))
    (tmp_path / "vm").chmod(0o755)
    (tmp_path / "vm" / ".pool").chmod(0o700)
    with pytest.raises(PoolUnreachable, match="Permission denied"):
        nobody.look([str(path)])
    (tmp_path / "vm" / ".pool").chmod(0o755)
    assert nobody.look([str(path)])[str(path)].record
    Path(layout.record_path(str(path))).chmod(0o600)
    with pytest.raises(PoolUnreachable, match="Permission denied"):
        nobody.look([str(path)])
    Path(layout.record_path(str(path))).chmod(0o644)
    path.chmod(0)
    with pytest.raises(PoolUnreachable, match=r"x\.qcow2.*Permission denied"):
        nobody.look([str(path)])


# -- looks ---------------------------------------------------------------------------------------


def test_a_look_is_what_is_there(shell, on_disk):
    path = known(on_disk / "vm 1" / "it's.qcow2", os.urandom(70_000))
    ram = known(on_disk / "vm 1" / "x.state")
    bare = on_disk / "bare.qcow2"
    bare.write_bytes(b"short")
    absent = on_disk / "absent.qcow2"
    found = shell.look(map(str, (path, ram, bare, absent)), leaves=True)
    check(found[str(path)], path, leaves=True)
    check(found[str(ram)], ram, leaves=True)
    assert found[str(bare)].stamp == stamp_of(bare) and found[str(bare)].header == b"short"
    assert found[str(bare)].record is found[str(bare)].seen is None
    assert found[str(absent)] == Look(str(absent), str(absent))
    check(shell.look([str(path)])[str(path)], path)


def test_odd_names_are_only_names(shell, tmp_path):
    for name in ODD:
        directory = tmp_path / name / "vm"
        path = known(directory / f"{name}.qcow2")
        check(shell.look([str(path)])[str(path)], path)
        assert list(shell.shelf(str(path)).states) == [str(path)]
        assert shell.space(str(directory))[0] == str(path.stat().st_dev)
    assert sorted(os.listdir(tmp_path)) == shell.names(str(tmp_path)) == sorted(ODD)


def test_names_with_control_characters_are_refused(shell, tmp_path):
    for path in (f"{tmp_path}/a\nb", f"{tmp_path}/\x1b", f"{tmp_path}/\x7f"):
        with pytest.raises(NameRefused):
            shell.look([path])
    assert shell.usable


def test_links_are_known_by_where_they_lead(shell, tmp_path):
    path = known(tmp_path / "pool" / "x.qcow2")
    (tmp_path / "dir").symlink_to("pool")
    link, deep = tmp_path / "cache" / "x.qcow2", tmp_path / "cache" / "deep.qcow2"
    link.parent.mkdir()
    link.symlink_to("../dir/x.qcow2")
    deep.symlink_to(link)
    dead = tmp_path / "dead.qcow2"
    dead.symlink_to("nowhere/x.qcow2")
    found = shell.look(map(str, (link, deep, dead, path)))
    for one in (link, deep):
        assert found[str(one)].real == str(path)
        check(replace(found[str(one)], path=str(path)), path)
    assert found[str(dead)] == Look(str(dead), str(tmp_path / "nowhere" / "x.qcow2"))
    assert found[str(path)].real == str(path)
    assert [shell.linked(str(one)) for one in (link, dead, path, path / "no")] == [
        True, True, False, False,
    ]  # fmt: skip


def test_what_is_no_file_is_told(shell, tmp_path):
    (tmp_path / "x.qcow2").mkdir()
    os.mkfifo(tmp_path / "y.qcow2")
    for look in shell.look([f"{tmp_path}/x.qcow2", f"{tmp_path}/y.qcow2"]).values():
        assert look.stamp and not look.regular
    assert shell.shelf(f"{tmp_path}/x.qcow2").states == {}


# -- chains --------------------------------------------------------------------------------------


@pytest.mark.parametrize("recorded", ["recorded", "bare", "wrong"])
def test_a_chain_is_looked_at_in_one_go(shell, tmp_path, recorded):
    made = images.chain(tmp_path / "made", "base", "it's $(x) ä", "top")
    paths = [tmp_path / "pool" / path.name for path in made]
    for number, (source, path) in enumerate(zip(made, paths, strict=True)):
        if recorded == "bare":
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(source.read_bytes())
        else:
            put_image(source, path, parent=paths[number - 1] if number else None)
    if recorded == "wrong":
        record = records.read_record(str(paths[-1]))
        wrong = replace(record, info=replace(record.info, parent="other"))
        records.write_record(str(paths[-1]), wrong, fsync=False)
    before = asked(shell)
    found = shell.look([str(paths[-1])], chain=True)
    # what a record says wrongly costs a second look, no more
    assert asked(shell) == before + (2 if recorded == "wrong" else 1)
    assert list(found) == [str(path) for path in reversed(paths)]
    for path in paths:
        assert found[str(path)].header == path.read_bytes()[:2048]
        assert found[str(path)].stamp == stamp_of(path)


def test_a_chain_ends_where_it_leaves_or_repeats(shell, tmp_path):
    base = images.image(tmp_path / "base.qcow2")
    images.image(tmp_path / "away.qcow2", backing=str(base))
    images.image(tmp_path / "below.qcow2", backing="./base.qcow2")
    images.image(tmp_path / "one.qcow2", backing="base.qcow2")
    images.image(tmp_path / "two.qcow2", backing="one.qcow2")
    images.qemu_img("rebase", "-u", "-F", "qcow2", "-b", "two.qcow2", tmp_path / "one.qcow2")
    (tmp_path / "cut.qcow2").write_bytes(b"QFI\xfb" + bytes(9))
    images.image(tmp_path / "orphan.qcow2", backing="base.qcow2")
    images.qemu_img("rebase", "-u", "-F", "qcow2", "-b", "gone.qcow2", tmp_path / "orphan.qcow2")

    def chain(name: str) -> list[str]:
        return [Path(path).stem for path in shell.look([f"{tmp_path}/{name}.qcow2"], chain=True)]

    assert chain("away") == ["away"] and chain("below") == ["below"] and chain("cut") == ["cut"]
    assert chain("two") == ["two", "one"] and chain("one") == ["one", "two"]
    assert chain("orphan") == ["orphan", "gone"] and chain("gone") == ["gone"]
    gone = shell.look([f"{tmp_path}/orphan.qcow2"], chain=True)[f"{tmp_path}/gone.qcow2"]
    assert gone.stamp is None


# -- directories ---------------------------------------------------------------------------------


def test_all_states_of_a_directory(shell, tmp_path):
    put(tmp_path / "first.qcow2", b"1")
    record = Path(layout.record_path(str(tmp_path / "first.qcow2"))).read_bytes()
    for number in range(450):
        (tmp_path / f"{number}.qcow2").write_bytes(b"x" * number)
        if number % 3:
            (tmp_path / ".pool" / f"{number}.qcow2.json").write_bytes(b"%d\n" % number)
    for name in ("new\nline.qcow2", "note.txt", "dead.qcow2"):
        (tmp_path / name).touch() if name != "dead.qcow2" else (tmp_path / name).symlink_to("x")
    states = shell.shelf(str(tmp_path / "any.qcow2")).states
    found = {Path(path).name: (look.stamp, look.record) for path, look in states.items()}
    assert len(found) == 451
    assert found["first.qcow2"] == (stamp_of(tmp_path / "first.qcow2"), record)
    for number in range(450):
        stamp, text = found[f"{number}.qcow2"]
        assert stamp == stamp_of(tmp_path / f"{number}.qcow2")
        assert text == (b"%d\n" % number if number % 3 else None)


def test_a_shelf_shows_what_stands_on_states(shell, tmp_path):
    made = images.chain(tmp_path / "made", "base", "top")
    directory = tmp_path / "vm1" / "image1"
    base, top = directory / "base.qcow2", directory / "top.qcow2"
    put_image(made[0], base)
    put_image(made[1], top, parent=base)
    put(tmp_path / "vm1" / "top.state", b"ram")
    overlay = images.image(tmp_path / "work" / "it's.img", backing=str(top))
    (tmp_path / "link").symlink_to("vm1")
    linked = images.image(tmp_path / "work" / "linked.img", backing="../link/image1/top.qcow2")
    for one in (overlay, linked, tmp_path / "work" / "gone.img", tmp_path / "a\nb"):
        users.register(str(top), str(one), "generation")
    (directory / ".pool" / "top.qcow2.users" / "bad.json").write_bytes(b"[")
    shelf = shell.shelf(str(top))
    assert {path: look.record for path, look in shelf.states.items()} == {
        str(path): Path(layout.record_path(str(path))).read_bytes() for path in (base, top)
    }
    assert shelf.states[str(top)].header == top.read_bytes()[:2048]
    assert list(shelf.rams) == [str(tmp_path / "vm1" / "top.state")]
    assert shelf.rams[f"{tmp_path}/vm1/top.state"].record
    (entries,) = shelf.users.values()
    assert list(shelf.users) == [str(top)] and len(entries) == 5
    assert {json.loads(text)["path"] for _, text in entries if text != b"["} == {
        str(overlay), str(linked), f"{tmp_path}/work/gone.img", f"{tmp_path}/a\nb",
    }  # fmt: skip
    assert shelf.overlays[str(overlay)].header == overlay.read_bytes()[:2048]
    assert shelf.overlays[f"{tmp_path}/work/gone.img"].stamp is None
    for one in (overlay, linked):
        assert shelf.below[str(one)].stamp == shelf.states[str(top)].stamp
        assert shelf.below[str(one)].device == shelf.states[str(top)].device
    assert not shelf.is_open(shelf.states[str(top)])


def lock_bytes(fd: int, kind: int, first: int) -> None:
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, first, 1, 0))


def test_a_shelf_tells_what_is_open(shell, on_disk):
    directory = on_disk / "vm1" / "image1"
    for name in ("used", "free", "other"):
        put(directory / f"{name}.qcow2", name.encode())
    with (directory / "used.qcow2").open("rb") as used, (directory / "other.qcow2").open("rb") as f:
        lock_bytes(used.fileno(), fcntl.F_RDLCK, 103)
        lock_bytes(f.fileno(), fcntl.F_RDLCK, 300)
        shelf = shell.shelf(str(directory / "used.qcow2"))
        opened = {Path(path).stem for path, look in shelf.states.items() if shelf.is_open(look)}
        assert opened == {"used"} and in_use(str(directory / "used.qcow2"))
    shelf = shell.shelf(str(directory / "used.qcow2"))
    assert not any(map(shelf.is_open, shelf.states.values()))


def test_space_is_that_of_the_next_directory_above(shell, on_disk):
    device, free = shell.space(str(on_disk / "not" / "yet"))
    found = os.statvfs(on_disk)
    assert device == str(on_disk.stat().st_dev)
    assert abs(free - found.f_bavail * found.f_frsize) < 1 << 20
    assert shell.clock(str(put(on_disk / "x.qcow2", b"") and on_disk)) > stamp_of(on_disk).ctime_ns


# -- the shell itself ----------------------------------------------------------------------------


NOISY = r"""
echo "Welcome to $0"; echo "+end 00 0" ; echo "+pid 1"; printf '+lacks everything'; echo bad >&2
printf 'no end of line'; printf 'nor here' >&2
"""


@pytest.mark.parametrize("kind", ["dash", "bash"])
def test_noise_is_no_answer(kind, tmp_path, monkeypatch):
    path = known(tmp_path / "x.qcow2")
    # each program that is started complains of this
    noisy = ["env", "LD_PRELOAD=/no/such.so", kind, "-c", f"{NOISY} exec {kind}"]
    with far(noisy) as one:
        assert one.pid != 1
        check(one.look([str(path)])[str(path)], path)
        assert one.look([f"{tmp_path}/no"]).popitem()[1].stamp is None
        assert one.names(str(tmp_path)) == ["x.qcow2"] and one.names(str(tmp_path / "no")) == []
        assert list(one.shelf(str(path)).states) == [str(path)]
        assert one.space(str(tmp_path / "no"))[0] == str(tmp_path.stat().st_dev)
        assert one.abilities.python and one.abilities.version >= (3, 11)


def test_a_killed_program_is_no_absence(tmp_path):
    path = known(tmp_path / "x.qcow2")
    programs = tmp_path / "bin"
    command = with_programs(programs, *NEEDED, "flock")
    for program in ("stat", "head", "ls"):
        with far(command) as one:
            (programs / program).unlink()
            (programs / program).write_text("#!/bin/sh\nkill -9 $$\n")
            (programs / program).chmod(0o755)
            with pytest.raises(PoolUnreachable):
                one.names(str(tmp_path)) if program == "ls" else one.look([str(path)])
        (programs / program).unlink()
        (programs / program).symlink_to(f"/usr/bin/{program}")


def test_what_the_host_lacks_is_told(tmp_path, caplog):
    command = with_programs(tmp_path / "bin", *NEEDED)
    with caplog.at_level("INFO"):
        for _ in range(2):
            with far(command, title=f"host {tmp_path}") as one:
                assert (one.abilities.python, one.abilities.rsync, one.abilities.flock) == ("",) * 3
                one.lock(str(tmp_path / "x"), 0, "host a, process 1, since then")
                one.unlock()
    told = [(r.levelname, r.message) for r in caplog.records if str(tmp_path) in r.message]
    assert [level for level, _ in told] == ["INFO", "INFO", "WARNING"]
    assert [program in text for program, (_, text) in zip(
        ("python3", "rsync", "flock"), told, strict=True)] == [True] * 3  # fmt: skip
    with far() as one:
        assert asdict(one.abilities) == asdict(one.abilities) and one.abilities.flock


def test_a_host_without_the_tools_is_refused(tmp_path):
    command = with_programs(tmp_path / "bin", *(set(NEEDED) - {"stat", "realpath"}))
    text = "finds no realpath, stat, stat of GNU; install"
    with pytest.raises(PoolUnreachable, match=text), far(command):
        pass


def test_a_python_that_does_not_run_is_none(tmp_path):
    command = with_programs(tmp_path / "bin", *NEEDED)
    (tmp_path / "bin" / "python3").symlink_to("/bin/false")
    with far(command) as one:
        assert one.abilities.python == ""


def forks(paths: list[str], log: Path) -> int:
    """Return how many processes a look at files takes."""
    calls = "?clone,?clone3,?fork,?vfork"
    with far(["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={calls}", "dash"]) as one:
        counts = []
        for _ in range(2):
            one.look(paths)
            one.linked("/")
            counts.append(len(re.findall(r" = \d+$", log.read_text(), re.MULTILINE)))
        return counts[1] - counts[0]


def test_looking_at_many_files_starts_no_more_programs(tmp_path):
    paths = [str(known(tmp_path / "pool" / f"{number}.qcow2")) for number in range(20)]
    assert forks(paths, tmp_path / "log") == forks(paths[:1], tmp_path / "log") < 9


def test_an_interrupted_call_is_the_end(tmp_path):
    with lock_holder(tmp_path / "x"), far(timeout=5) as one:
        timer = threading.Timer(0.2, os.kill, (os.getpid(), 2))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            one.lock(str(tmp_path / "x"), 60, "host a, process 1, since then")
        assert not one.usable
        with pytest.raises(PoolUnreachable, match="of no more use"):
            one.names(str(tmp_path))
        subprocess.run(["dash", "-c", f"kill -9 -{one.pid}"], check=True)
