"""A state's record says how it was made, wherever the state goes, and a plan looks at that."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from avocado_pool_plugin.core import knowledge, layout, process, records
from avocado_pool_plugin.core.errors import SettingRefused
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.core.recipe import Recipe
from avocado_pool_plugin.core.records import FileInfo
from avocado_pool_plugin.graph import recipe
from avocado_pool_plugin.graph.exists import Finder
from avocado_pool_plugin.graph.plan import Found
from avocado_pool_plugin.graph.read import node_of
from avocado_pool_plugin.graph.recipe import note
from avocado_pool_plugin.graph.why import why
from avocado_pool_plugin.states import setup
from tests.support.images import edit
from tests.support.images import image as make_qcow2
from tests.support.processes import in_child
from tests.support.states import OWN, get, other, show
from tests.support.vms import Lab, write

INSTALL, CUSTOMIZE = (State("vm1", "image1", name) for name in ("install", "customize"))
Tests = dict[str, dict[str, str]]


@pytest.fixture(autouse=True)
def code(monkeypatch) -> dict[str, str]:
    """The sources of test types, without any provider."""
    digests = {"guest_files": "c0de"}
    monkeypatch.setattr(
        recipe,
        "code_of",
        lambda params: {t: digests[t] for t in params.get("type", "").split() if t in digests},
    )
    return digests


def suite(lab: Lab, **more: str) -> Tests:
    """Return install <- customize, as flat params."""
    both = {"type": "guest_files", "mem": "192", "pool_fsync": "no", "image_size": "16M", **more}
    asks: dict[str, Mapping[str, str]] = {
        "install": {"set_state_images": "install", "written": "1"},
        "customize": {
            "get_state_images": "install",
            "set_state_images": "customize",
            "written": "2",
        },
    }
    return {name: {**lab.params(**both, **own), "id": name} for name, own in asks.items()}


def run(lab: Lab, params: Mapping[str, str]) -> None:
    """Do what a test does: get, write, set; its params were prepared by the job."""
    own = dict(params)
    note(own)
    flat = lab.params(**own)
    setup.get_states(flat)
    if not flat.get("get_state_images"):
        lab.image().unlink(missing_ok=True)
        base = lab.root / "golden.qcow2"
        if base.exists():
            make_qcow2(lab.image(), backing=str(base))
        else:
            lab.make_image()
    write(lab.image(), int(flat["written"]), f"{flat['written']}M")
    setup.set_states(flat)


def run_all(lab: Lab, **more: str) -> Tests:
    tests = suite(lab, **more)
    for params in tests.values():
        run(lab, params)
    return tests


def recorded(path: Path) -> FileInfo:
    record = records.read_record(str(path))
    assert record is not None
    return record.info


def found(tests: Tests, state: State, **more: str) -> Found:
    readings = [node_of(name, {**params, **more}) for name, params in tests.items()]
    return Finder.of(readings)(state)


def problem(tests: Tests, state: State, **more: str) -> str:
    return found(tests, state, recipe_mode="rebuild", **more).problem


def anew(lab: Lab, tests: Tests, *names: str) -> None:
    """Run tests again as a graph run does that replaces their states."""
    for name in names:
        run(lab, {**tests[name], "set_cascade": "yes"})


# records


def test_a_state_says_how_it_was_made(lab):
    run_all(lab)
    info = recorded(lab.state("install"))
    parts = dict(info.recipe.parts)
    assert parts["param mem"] == "192" and parts["code guest_files"] == "c0de"
    assert not [part for part in parts if part.startswith(("parent", "base"))]
    above = dict(recorded(lab.state("customize")).recipe.parts)
    assert above["parent install"] == f"recipe {info.recipe.key}"
    assert info.made_by.endswith(f"process {os.getpid()}, test install")
    data = json.loads(Path(layout.record_path(str(lab.state("install")))).read_text())
    assert data["recipe"] == {"key": info.recipe.key, "parts": parts}


def test_how_a_state_was_made_goes_where_it_goes(lab):
    run_all(lab)
    worker = other(lab)
    get(worker, "customize")
    for name in ("install", "customize"):
        mine = recorded(lab.state(name))
        for path in (lab.shared(name), worker.state(name)):
            there = recorded(path)
            assert (there.recipe, there.made_by) == (mine.recipe, mine.made_by)


def test_a_state_set_outside_of_a_job_says_nothing(lab):
    lab.make_image()
    setup.set_states(lab.params(set_state_images="install"))
    info = recorded(lab.state("install"))
    assert info.recipe is None and ", test" not in info.made_by
    run(lab, suite(lab)["customize"])
    above = recorded(lab.state("customize"))
    assert dict(above.recipe.parts)["parent install"] == f"generation {info.generation}"
    for mode in ("rebuild", "warn"):
        assert found(suite(lab, recipe_mode=mode, mem="256"), INSTALL) == Found("cache")


def cut(lab: Lab, params: Mapping[str, str]) -> None:
    """Run a test in a process that is gone as soon as the image was moved away."""

    def child():
        process.machine = lambda: "another boot"
        real = os.rename

        def rename(source, target):
            real(source, target)
            if source == str(lab.image()):
                os._exit(9)

        os.rename = rename
        run(lab, params)

    assert in_child(child) == 9


def test_a_set_that_was_cut_off_is_recorded_as_what_it_was(lab):
    tests = suite(lab)
    run(lab, tests["install"])
    cut(lab, tests["customize"])
    # whoever comes next completes it: a test of another name, with other params
    show(lab, id="somebody", pool_recipe='{"param mem": "1"}', **OWN)
    info = recorded(lab.state("customize"))
    assert info.made_by.endswith("test customize")
    assert dict(info.recipe.parts)["param mem"] == "192"
    assert problem(tests, CUSTOMIZE, pool_scope="own") == ""


def test_an_intent_of_an_earlier_version_is_understood(lab):
    tests = suite(lab)
    run(lab, tests["install"])
    cut(lab, tests["customize"])
    (path,) = Path(layout.intents_dir(str(lab.state("x").parent))).glob("*.json")
    data = json.loads(path.read_text())
    for key in ("test", "parts"):
        del data[key]
    path.write_text(json.dumps(data))
    assert show(lab, **OWN) == ["customize", "install"]
    assert recorded(lab.state("customize")).recipe is None


@pytest.mark.parametrize("old", [None, "a key", {"key": 1}, {"key": "k", "parts": "p"}])
def test_records_of_other_versions_say_nothing_and_are_no_worse(lab, old):
    tests = run_all(lab)
    path = Path(layout.record_path(str(lab.state("install"))))
    data = json.loads(path.read_text())
    if old is None:
        del data["recipe"]
    else:
        data["recipe"] = old
    path.write_text(json.dumps(data))
    assert recorded(lab.state("install")).recipe is None
    assert problem(suite(lab, mem="256"), INSTALL, **OWN) == ""
    assert found(tests, INSTALL, **OWN) == Found("cache")


# what a plan does of it


def test_an_unchanged_suite_is_never_rebuilt(lab):
    tests = run_all(lab)
    assert [problem(tests, state) for state in (INSTALL, CUSTOMIZE)] == ["", ""]
    # nor elsewhere, with other paths, another cache and in a slot
    worker = other(lab)
    get(worker, "customize")
    theirs = suite(worker, qemu_binary="/other/qemu", update_pool_timeout="1")
    assert [problem(theirs, state) for state in (INSTALL, CUSTOMIZE)] == ["", ""]


@pytest.mark.parametrize("mode", ["ignore", "warn", "rebuild"])
def test_a_changed_param_is_ignored_told_or_a_reason_to_rebuild(lab, mode):
    run_all(lab)
    tests = suite(lab, mem="256")
    told = found(tests, INSTALL, recipe_mode=mode)
    text = "was made by another recipe: param mem: 192 -> 256"
    assert (
        told
        == {
            "ignore": Found("cache"),
            "warn": Found("cache", note=f"{text}; recipe = rebuild makes it anew"),
            "rebuild": Found("cache", problem=text),
        }[mode]
    )


def test_what_a_state_stands_on_counts_as_well(lab):
    run_all(lab)
    tests = suite(lab)
    tests["install"]["mem"] = "256"
    assert problem(tests, CUSTOMIZE) == (
        "stands on 'install' of vm1/image1, made by another recipe: param mem: 192 -> 256"
    )


def test_a_note_for_people_is_the_default(lab):
    run_all(lab)
    finder = Finder.of([node_of(name, params) for name, params in suite(lab, mem="2").items()])
    told = finder(INSTALL)
    assert told.good
    assert told.note.startswith("was made by another recipe: param mem: 192 -> 2; ")


def test_nonsense_is_refused(lab):
    run_all(lab)
    with pytest.raises(SettingRefused, match="recipe_mode = 'often'"):
        found(suite(lab), INSTALL, recipe_mode="often")


def test_changed_code_is_a_change(lab, code):
    tests = run_all(lab)
    code["guest_files"] = "beef"
    assert "code of test type guest_files changed" in problem(tests, INSTALL)
    assert problem(tests, INSTALL, recipe_ignore="code") == ""
    del code["guest_files"]
    assert problem(tests, INSTALL) == ""


def test_a_state_in_a_pool_only_is_judged_too(lab):
    run_all(lab)
    tests = suite(other(lab), mem="256")
    bad = found(tests, CUSTOMIZE, recipe_mode="rebuild")
    assert (bad.where, "param mem" in bad.problem) == (f":{lab.pool}", True)
    assert found(tests, CUSTOMIZE).fetch != ()


def test_what_several_tests_make_or_none_is_not_judged(lab):
    run_all(lab)
    tests = suite(lab, mem="256")
    assert problem({"a": tests["install"], "b": tests["install"]}, INSTALL) == ""
    reader = {**suite(lab)["customize"], "set_state_images": ""}
    assert problem({"c": reader}, INSTALL) == ""


def test_a_parent_lost_and_made_in_the_same_way_changes_no_key(lab):
    tests = run_all(lab)
    before = recorded(lab.state("customize"))
    anew(lab, tests, "install", "customize")
    after = recorded(lab.state("customize"))
    assert after.generation != before.generation
    assert after.recipe == before.recipe
    assert problem(tests, CUSTOMIZE) == ""


def test_a_parent_made_in_another_way_changes_the_keys_above_it(lab):
    tests = run_all(lab)
    before = recorded(lab.state("customize")).recipe
    tests["install"]["mem"] = "256"
    anew(lab, tests, "install", "customize")
    after = recorded(lab.state("customize")).recipe
    assert after.key != before.key
    differ = {name for name, value in after.parts if dict(before.parts)[name] != value}
    assert differ == {"parent install"}
    assert [problem(tests, state) for state in (INSTALL, CUSTOMIZE)] == ["", ""]


def test_a_parent_of_equal_content_made_in_another_way_is_told(lab):
    tests = run_all(lab, **OWN)
    path = Path(layout.record_path(str(lab.state("install"))))
    data = json.loads(path.read_text())
    data["recipe"]["key"] = "0" * 32
    path.write_text(json.dumps(data))
    assert problem(tests, INSTALL) == ""
    assert "parent install was made anew" in problem(tests, CUSTOMIZE)
    # without a recipe of its own it can't be compared
    data["recipe"] = None
    path.write_text(json.dumps(data))
    assert problem(tests, CUSTOMIZE) == ""


def test_rebuilding_ends_although_the_content_is_the_same(lab):
    """A pool keeps equal files; it must not go on saying that they were made as before."""
    tests = run_all(lab)
    for params in tests.values():
        params["mem"] = "256"
    assert problem(tests, INSTALL) != ""
    # the same content to the last byte, by another recipe
    info = recorded(lab.state("install"))
    note(tests["install"])
    own = dict(tests["install"], id="install")
    record = records.read_record(str(lab.state("install")))
    parts = json.loads(own["pool_recipe"])
    made = FileInfo(**{**vars(info), "recipe": Recipe.of(parts)})
    records.write_record(
        str(lab.state("install")), records.Record(made, record.made_as, record.stamp), False
    )
    setup.set_states(lab.params(**{**own, "pool_scope": "shared"}))
    assert recorded(lab.shared("install")).recipe == made.recipe
    # as long as one of the two says so, it is made as it is now
    records.write_record(str(lab.state("install")), record, False)
    assert problem(tests, INSTALL) == "" != problem(tests, INSTALL, **OWN)
    records.write_record(
        str(lab.state("install")), records.Record(made, record.made_as, record.stamp), False
    )
    assert problem(suite(other(lab), mem="256"), INSTALL) == ""
    # and once more it is nothing to do
    inode = lab.shared("install").stat().st_ino
    setup.set_states(lab.params(**{**own, "pool_scope": "shared"}))
    assert lab.shared("install").stat().st_ino == inode
    get(other(lab), "customize")


# base images


@pytest.fixture
def golden(lab) -> Path:
    """A base image that install is made on."""
    return write_base(make_qcow2(lab.root / "golden.qcow2", size="16M"), 40)


def write_base(path: Path, byte: int) -> Path:
    write(path, byte, "12M")
    return path


CHAIN = {"image_chain": "golden image1", "force_create_image_image1": "yes"}


def test_a_base_image_counts_by_its_content(lab, golden):
    more = {**CHAIN, "image_name_golden": str(golden.with_suffix(""))}
    tests = run_all(lab, **more)
    parts = dict(recorded(lab.state("install")).recipe.parts)
    known = knowledge.identify_working(str(golden), None)
    assert parts["base image"] == known.digest
    assert not any(part.startswith("parent") for part in parts)
    assert problem(tests, INSTALL) == ""
    os.utime(golden)
    assert problem(tests, INSTALL) == "", "a copy of the same base image elsewhere is the same"
    write_base(golden, 41)
    assert problem(tests, INSTALL) == "was made by another recipe: the base image changed"
    golden.unlink()
    assert problem(tests, INSTALL) == "", "what can't be compared is no change"


# why


def test_why_tells_all_of_it(lab):
    run_all(lab)
    tests = suite(lab, mem="256")
    finder = Finder.of([node_of(name, params) for name, params in tests.items()])
    here, there = why(CUSTOMIZE, finder)
    assert (here.where, there.where) == ("cache", f":{lab.pool}")
    text = "\n".join(here.lines())
    for words in (
        "'customize' of vm1/image1 in cache",
        "test customize",
        "stands on install",
        "code guest_files, parent install,",
        "would make it in another way",
        "param mem: 192 -> 256",
    ):
        assert words in text
    same = Finder.of([node_of(name, params) for name, params in suite(lab).items()])
    assert "would make it in the same way" in why(CUSTOMIZE, same)[0].verdict


def test_why_tells_what_is_wrong_with_a_state(lab):
    tests = run_all(lab)
    path = lab.state("install")
    edit(path, path.stat().st_size - 512, b"x" * 100)
    finder = Finder.of([node_of(name, params) for name, params in tests.items()])
    text = "\n".join(why(INSTALL, finder)[0].lines())
    assert "can't be used: is corrupt in the cache" in text
    assert why(State("vm1", "image1", "nothing"), finder) == []


def test_why_of_a_state_that_no_test_sets(lab):
    run_all(lab)
    finder = Finder.of([], dict(lab.params()))
    assert "not exactly one test" in why(INSTALL, finder)[0].verdict
