"""Steps: how they are found and chained, and which objects they work on."""

import importlib.metadata
import logging
from types import SimpleNamespace

import pytest
from avocado.core.nrunner.runnable import Runnable
from avocado.core.output import LOG_UI

from avocado_pool_plugin.core.errors import SettingRefused
from avocado_pool_plugin.core.layout import META
from avocado_pool_plugin.plugins.selection import Selection, read_selection
from avocado_pool_plugin.plugins.steps import context as context_module
from avocado_pool_plugin.plugins.steps import states, tests
from avocado_pool_plugin.plugins.steps.check import check
from avocado_pool_plugin.plugins.steps.context import Context, load_step, run_chain
from avocado_pool_plugin.states.selected import objects_of, single_images, title
from tests.support.vms import Lab, holds, write

KNOWN = {"noop", "list", "check", "create", "clean", "collect", "get", "set", "unset", "push",
         "pop", "update", "run"}  # fmt: skip


@pytest.fixture(autouse=True)
def what_users_see(caplog):
    caplog.set_level(logging.INFO, LOG_UI.name)


def context(*words, runnables=(), whole=(), **config):
    """Return the context of a command line; what Avocado-VT would find is given."""
    selection = read_selection(words)
    found = Context.of({"pool.fsync": "no", **config}, selection)
    found.__dict__["tests"] = list(runnables)  # what is found is remembered like this
    found.__dict__["whole"] = lambda: list(whole or runnables)
    return found


# -- finding and chaining ----------------------------------------------------------------------


def test_all_documented_steps_are_installed():
    found = {entry.name for entry in importlib.metadata.entry_points(group=context_module.GROUP)}
    assert found >= KNOWN
    for name in KNOWN:
        assert callable(load_step(name))


@pytest.fixture
def steps(monkeypatch):
    """Steps by name, in place of the installed ones, that return a status or can't be loaded."""
    done = []

    def entry(name, result, value=None):
        def load():
            if isinstance(result, Exception):
                raise result
            return lambda given: done.append(name) or result

        return SimpleNamespace(name=name, value=value or f"module:{name}", load=load)

    entries = [
        entry("good", 0),
        entry("none", None),
        entry("bad", 3),
        entry("broken", ImportError("no such thing")),
        entry("twice", 0, "one:step"),
        entry("twice", 0, "other:step"),
        entry("same", 0, "one:step"),
        entry("same", 0, "one:step"),
    ]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: entries)
    return done


def test_steps_are_done_in_order_until_one_fails(steps):
    assert run_chain(context("setup=good,none,same,good")) == 0
    assert steps == ["good", "none", "same", "good"]
    steps.clear()
    assert run_chain(context("setup=good,bad,good")) == 3
    assert steps == ["good", "bad"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("bogus", "there is no step 'bogus', known are: bad, broken, good, none, same, twice"),
        ("broken", "step 'broken' can't be loaded from module:broken: ImportError: no such thing"),
        ("twice", "step 'twice' is ambiguous: one:step, other:step"),
    ],
)
def test_what_can_t_be_done_is_known_before_anything_is(steps, name, told):
    with pytest.raises(SettingRefused) as error:
        run_chain(context(f"setup=good,{name}"))
    assert told in str(error.value)
    assert steps == []


# -- what a step is given ----------------------------------------------------------------------


def vt(name, **params):
    return Runnable("avocado-vt", name, **{"vms": "vm1", "images": "image1", **params})


def test_a_suite_leaves_the_tests_as_they_are():
    one = vt("one", mem="1")
    given = context("rerun=a", runnables=[one])
    suite = given.suite(given.tests, {"rerun": "*"})
    suite.tests[0].kwargs["mem"] = "2"
    suite.tests[0].kind = "dry-run"
    assert (one.kwargs["mem"], one.kind) == ("1", "avocado-vt")
    assert suite.config["pool.rerun"] == "*" and given.config["pool.rerun"] == "a"
    assert suite.config["run.suite_runner"] == "pool-graph"


def test_settings_of_the_job_are_under_the_params_of_tests():
    given = context(
        runnables=[vt("one", swarm_pool="/mine"), Runnable("exec-test", "/bin/true")],
        **{"pool.swarm_pool": "/job", "pool.shared_pool": ":/pool"},
    )
    (params,) = given.params()
    assert (params["swarm_pool"], params["shared_pool"]) == ("/mine", ":/pool")


def test_nothing_is_told_where_programs_read(caplog):
    context().say("one %s", "word")
    context(stdout_claimed_by="--xunit").say("two")
    assert caplog.messages == ["one word"]


# -- objects -----------------------------------------------------------------------------------


def test_each_image_is_that_of_the_first_test():
    found = objects_of(
        [
            {"vms": "vm1", "images": "image1", "n": "1"},
            {"vms": "vm1 vm2", "images": "image1 image2", "images_vm2": "image1", "n": "2"},
            {"vms": "vm2", "images": "image1", "n": "3"},
            {"vms": "vm2", "images": "image1", "object_id_vm2": "other", "n": "4"},
            {"vms": "", "images": "image1"},
            {"vms": "vm5", "images": ""},
        ],
        {},
    )
    assert [(own["n"], title(own)) for own in found] == [
        ("1", "vm1/image1"),
        ("2", "vm1/image2, vm2/image1"),
        ("4", "vm2/image1"),
    ]
    singles = [(own["vms"], own.object_params(own["vms"])["images"]) for own in
               single_images(found[1])]  # fmt: skip
    assert singles == [("vm1", "image2"), ("vm2", "image1")]


def test_what_tests_ask_for_is_left_out_and_what_a_person_asks_for_stays():
    test = {"vms": "vm1", "images": "image1", "get_state": "a", "get_state_images_vm1": "b",
            "set_mode": "ff", "unset_cascade_image1": "yes", "get_location": ":/x",
            "get_stateless": "c", "id": "install"}  # fmt: skip
    (own,) = objects_of([test], {})
    assert not [key for key in own if key.startswith(("get_state_", "set_", "unset_"))]
    assert "get_state" not in own
    assert (own["get_location"], own["get_stateless"]) == (":/x", "c")
    assert own["id"] != "install", "no record is to say that the test made it"
    (own,) = objects_of([test], {"get_state_images_vm1": "b", "set_mode": "ff"})
    assert (own["get_state_images_vm1"], own["set_mode"]) == ("b", "ff")
    assert "get_state" not in own
    assert test["id"] == "install", "the params of the test are not changed"


def test_states_of_vms_are_meant_only_if_they_are_named():
    test = {"vms": "vm1", "images": "image1", "skip_types": "some"}
    assert objects_of([test], {"get_state": "a"})[0].objects("skip_types") == [
        "some",
        "nets",
        "vms",
    ]
    asked = objects_of([test], {"get_state_vms": "a"})[0]
    assert asked.objects("skip_types") == ["some", "nets"]


# -- steps on states, on real images -----------------------------------------------------------


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


def of(lab, *words, vms="vm1", images="image1", **config):
    """Return a context with one test that has a lab's images, and asks for things itself."""
    params = lab.params(vms, images, get_state_images="its own", set_state="its own")
    del params["skip_types"]
    given = read_selection(words).params
    runnable = vt("test", **{**params, "image_size": "16M", **given})
    return context(*words, runnables=[runnable], **config)


def told(caplog):
    return [r.getMessage() for r in caplog.records if r.name == LOG_UI.name]


def test_states_are_made_and_got_without_a_test(lab, caplog):
    assert states.create(of(lab)) == 0
    write(lab.image(), 1)
    assert states.SET(of(lab, "set_state_images=a")) == 0
    write(lab.image(), 2)
    assert states.PUSH(of(lab, "push_state=b")) == 0
    assert lab.shared("b").exists()
    assert states.GET(of(lab, "get_state=a")) == 0
    assert holds(lab.image(), 1) and not holds(lab.image(), 2)
    assert states.POP(of(lab, "pop_state_image1_vm1=b")) == 0
    assert holds(lab.image(), 2) and not lab.state("b").exists()
    assert states.UNSET(of(lab, "unset_state=a")) == 0
    assert not lab.state("a").exists() and not lab.shared("a").exists()
    assert any("set state 'a' of vm1/image1" in line for line in told(caplog))


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (["get_state=a"], 1, "State 'a' of vm1/image1 does not exist"),
        (["get_state=a", "get_mode=ri"], 0, "get of state 'a' of vm1/image1 is left out"),
        (["get_state=a", "get_mode=zz"], 2, "Invalid policy get_mode = 'zz'"),
    ],
)
def test_modes_and_errors_are_those_of_tests(lab, words, status, line, caplog):
    lab.make_image()
    assert states.GET(of(lab, *words)) == status
    assert any(line in told_line for told_line in told(caplog))


def test_a_verb_needs_a_state(lab):
    with pytest.raises(SettingRefused, match="set_state_images=STATE"):
        states.SET(of(lab, "get_state=a", "set_statement=b"))
    with pytest.raises(SettingRefused, match="no selected test has a vm"):
        states.GET(context("get_state=a", runnables=[Runnable("exec-test", "/bin/true")]))


def test_nothing_is_done_for_one_object_if_another_one_makes_no_sense(lab, caplog):
    given = of(lab, "set_state=a", "set_mode_vm2=zz", vms="vm1 vm2")
    lab.make_image("vm1"), lab.make_image("vm2")
    assert states.SET(given) == 2
    assert not lab.state("a").exists()


def test_a_dry_run_changes_nothing(lab, caplog):
    dry = {"run.dry_run.enabled": True}
    assert states.create(of(lab, **dry)) == 0 and not lab.image().exists()
    lab.make_image()
    assert states.SET(of(lab, "set_state=a", **dry)) == 0 and not lab.state("a").exists()
    assert states.clean(of(lab, **dry)) == 0 and lab.image().exists()
    assert told(caplog)[-1] == "dry run, unset of vm1/image1 is left out"


def test_create_makes_what_is_missing_only(lab):
    lab.make_image()
    write(lab.image(), 1)
    # what is asked for here is for another step, and does not get in the way
    words = ["set_state_images=a", "set_mode=ff", "pool_scope_images=own shared"]
    assert states.create(of(lab, *words, images="image1 image2")) == 0
    assert holds(lab.image(), 1)
    assert lab.image(image="image2").exists()
    assert not lab.state("a").exists()


def test_clean_leaves_nothing_in_the_cache_and_all_in_the_pool(lab):
    lab.make_image()
    for number, state in enumerate("abc"):
        write(lab.image(), number)
        assert states.SET(of(lab, f"set_state={state}")) == 0
    other = lab.make_image("vm2")
    ram = lab.cache / "vm1" / "b.state"
    ram.write_bytes(b"RAM of a vm that was saved with image state b")
    assert states.clean(of(lab)) == 0
    assert not lab.image().exists() and other.exists()
    assert not ram.exists(), "without its images it is of no use"
    left = [path for path in lab.cache.rglob("*.qcow2") if META not in path.parts]
    assert left == []
    assert all(lab.shared(state).exists() for state in "abc")
    assert states.clean(of(lab)) == 0, "a second time there is nothing to do"
    assert states.GET(of(lab, "get_state=c")) == 0 and holds(lab.image(), 2)


def test_collect_gets_the_image_from_the_pool(lab):
    # a mode is for the verbs of the command line
    assert states.collect(of(lab, "get_mode=ii")) == 1
    lab.make_image()
    write(lab.image(), 1)
    root = {"set_state_images": "root", "pool_scope": "shared"}
    assert states.SET(of(lab, *(f"{key}={value}" for key, value in root.items()))) == 0
    lab.image().unlink()
    assert states.collect(of(lab, "pool_scope=own")) == 0
    assert holds(lab.image(), 1)


# -- steps about tests -------------------------------------------------------------------------

CHAIN = (
    vt("consumer", get_state_images="customize"),
    vt("customize", get_state_images="install", set_state_images="customize"),
    vt("install", set_state_images="install"),
    vt("vm2", vms="vm2", set_state_images="install"),
)


@pytest.mark.parametrize(
    ("words", "made"),
    [
        ([], ["customize", "install"]),
        (["from_state=customize"], ["customize"]),
        (["to_state=install"], ["install"]),
    ],
)
def test_update_is_for_the_objects_of_the_selected_tests(words, made):
    given = context("setup=update", *words, runnables=CHAIN[:1], whole=CHAIN)
    found, options = tests.producers(given)
    assert [test.uri for test in found] == made
    assert options == {"rerun": "*"}


def test_a_plan_of_update_runs_what_exists(lab):
    places = {"pool.swarm_pool": str(lab.cache), "pool.shared_pool": str(lab.pool)}
    given = context("setup=update", runnables=CHAIN[:1], whole=CHAIN, **places)
    plan = tests.plan(given).plan
    assert [(step.test, step.action, step.reason) for step in plan.steps] == [
        ("install", "run", "asked for"),
        ("customize", "run", "asked for"),
    ]


@pytest.mark.parametrize("setup", ["get", "run,run", "update,run"])
def test_there_is_no_plan_of_other_steps(setup):
    with pytest.raises(SettingRefused, match=f"setup={setup}: "):
        tests.plan(context(f"setup={setup}", runnables=CHAIN))


@pytest.mark.parametrize(("mode", "status"), [("ra", 1), ("ri", 0)])
def test_check_fails_for_what_a_test_can_t_do_without(lab, mode, status, capsys):
    test = vt("test", **lab.params(get_state_images="a", get_mode=mode, pool_fsync="no"))
    assert check(context(runnables=[test])) == status
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["state", "where", "problem"], ["vm1/image1/a", "does", "not", "exist"]]
    lab.make_image()
    assert states.SET(of(lab, "set_state=a")) == 0
    assert check(context(runnables=[test])) == 0
    assert "vm1/image1/a  cache, :" in capsys.readouterr().out


def test_list_names_tests_and_states(capsys):
    assert tests.list_tests(context(runnables=(*CHAIN, Runnable("exec-test", "/bin/true")))) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["test", "gets", "sets"],
        ["consumer", "vm1/image1/customize"],
        ["customize", "vm1/image1/install", "vm1/image1/customize"],
        ["install", "vm1/image1/install"],
        ["vm2", "vm2/image1/install"],
        ["/bin/true"],
    ]


def test_noop_reads_everything(caplog):
    assert tests.noop(context(runnables=CHAIN[:1], whole=CHAIN)) == 0
    assert told(caplog) == ["1 tests selected, 4 in the configuration"]


def test_the_selection_of_a_context_is_frozen():
    with pytest.raises(AttributeError):
        context().selection = Selection()
