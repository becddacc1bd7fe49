"""KEY=VALUE words, and the options that the commands about graph runs take from ``avocado run``."""

import pytest
from avocado.core.parser import ArgumentParser, FileOrStdoutAction
from hypothesis import given
from hypothesis import strategies as st

from avocado_pool_plugin.core.errors import NameRefused, PoolError, SettingRefused
from avocado_pool_plugin.plugins import cmd
from avocado_pool_plugin.plugins.selection import Selection, read_selection


def test_nothing_said_is_a_run_of_all():
    assert read_selection([]) == Selection()
    assert Selection().setup == ("run",)
    assert Selection().config({}) == {
        "vt.only_filter": "",
        "vt.no_filter": "",
        "vt.extra_params": [],
    }


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a", "a"),
        ("a..b,c", "a..b,c"),
        (" a..b , c ", "a..b,c"),
        ("a .. b", "a..b"),
        ("a . b.c", "a.b.c"),
        ("a b", "a,b"),
        ("(mem = 2)", "(mem=2)"),
        ("( mem=2 ) a", "(mem=2),a"),
        ("(a = 1) .. b", "(a=1)..b"),
    ],
)
def test_a_filter_is_one_word_for_avocado_vt(written, read):
    assert read_selection([f"only={written}", f"no={written}"]) == Selection((read,), (read,))


def test_filters_mean_the_same_to_avocado_vt_s_parser():
    from virttest.cartesian_config import Parser

    text = "variants:\n    - a:\n        variants:\n            - x:\n            - y:\n    - b:\n"

    def names(selection):
        parser = Parser()
        parser.parse_string(text)
        config = selection.config({})
        for one in config["vt.only_filter"].split():
            parser.only_filter(one)
        for one in config["vt.no_filter"].split():
            parser.no_filter(one)
        return [found["name"] for found in parser.get_dicts()]

    assert names(read_selection([])) == ["a.x", "a.y", "b"]
    assert names(read_selection(["only=a .. x , b"])) == ["a.x", "b"]
    assert names(read_selection(["only=x b"])) == ["a.x", "b"]
    assert names(read_selection(["only=a", "only=x,b"])) == ["a.x"]
    assert names(read_selection(["no=x", "no=b"])) == ["a.y"]
    assert names(read_selection(["only=a", "no=x"])) == ["a.y"]


def test_filters_and_params_join_those_of_other_options():
    selection = read_selection(["only=a", "only=b,c", "no=d", "mem=2"])
    given = {"vt.only_filter": "z", "vt.no_filter": "", "vt.extra_params": ["smp=4"], "else": 1}
    assert selection.config(given) == {
        "vt.only_filter": "z a b,c",
        "vt.no_filter": "d",
        "vt.extra_params": ["smp=4", "mem=2"],
        "else": 1,
    }
    assert given["vt.extra_params"] == ["smp=4"]


def test_all_else_is_a_param_as_it_is_written():
    words = [
        "kernel_params=console=ttyS0,115200 ro",
        "nics=",
        "get_state_image1_vm1=a b",
        "k-1.x=2",
    ]
    assert read_selection(words).params == {
        "kernel_params": "console=ttyS0,115200 ro",
        "nics": "",
        "get_state_image1_vm1": "a b",
        "k-1.x": "2",
    }
    assert read_selection(words).config({})["vt.extra_params"] == words


def test_special_keys():
    selection = read_selection(
        ["setup=check, get,run", "vms=vm1,vm2", "rerun=a*,b c", "replay=/a, b", "from_state=a",
         "to_state=b"]
    )  # fmt: skip
    assert selection.setup == ("check", "get", "run")
    assert selection.params == {"vms": "vm1 vm2"}
    assert selection.options == {"rerun": "a* b c", "replay": "/a, b"}
    assert (selection.from_state, selection.to_state) == ("a", "b")
    assert selection.config({"pool.rerun": "z", "pool.off": False}) == {
        "pool.rerun": "a* b c",
        "pool.replay": "/a, b",
        "pool.off": False,
        "vt.only_filter": "",
        "vt.no_filter": "",
        "vt.extra_params": ["vms=vm1 vm2"],
    }


def test_the_last_of_several_counts():
    selection = read_selection(
        ["setup=get", "setup=run,run", "mem=1", "mem=2", "rerun=a", "rerun=b"]
    )
    assert selection.setup == ("run", "run")
    assert selection.params == {"mem": "2"}
    assert selection.options == {"rerun": "b"}


@pytest.mark.parametrize(
    "word",
    ["install", "", "=", "=a", " =a", "a b=c", "k+=1", "ä=1", "a/b=c", "only=", "only= ", "no=,",
     "only=..", "setup=", "setup=,", "vms=", "replay=", "rerun= ", "mem=1\nsmp=2", "only_vm1=a",
     "no_vm2=b", "only_nets=c", "from_state=a/b", "to_state=.a", "-x=1"],
)  # fmt: skip
def test_what_makes_no_sense_is_one_sentence(word):
    with pytest.raises((SettingRefused, NameRefused)) as error:
        read_selection(["mem=1", word])
    assert "\n" not in str(error.value)


@given(st.lists(st.text(max_size=12)))
def test_any_words_are_read_or_refused(words):
    try:
        selection = read_selection(words)
    except PoolError:
        return
    config = selection.config({})
    assert all("\n" not in param for param in config["vt.extra_params"])
    assert all(" " not in one for one in (*selection.only, *selection.no))
    assert len(selection.only) == sum(word.split("=")[0].strip() == "only" for word in words)


# -- the command line --------------------------------------------------------------------------


@pytest.fixture
def parser():
    """A program with ``avocado pool``, and with ``avocado run`` as plugins make it later."""
    found = ArgumentParser(prog="avocado")
    found.subcommands = found.add_subparsers(dest="subcommand")
    cmd.Pool().configure(found)
    run = found.subcommands.add_parser("run")
    run.add_argument("resolver.references", nargs="*")
    run.add_argument("--suite-runner", dest="run.suite_runner")
    run.add_argument("-p", dest="run.test_parameters")
    run.add_argument("--failfast", dest="run.failfast", action="store_true")
    run.add_argument("--json", dest="job.run.result.json.output", action=FileOrStdoutAction)
    vt = run.add_argument_group("Avocado-VT")
    vt.add_argument("--vt-config", dest="vt.config", help="the tests")
    return found


def parse(parser, *words):
    found, rest = parser.parse_known_args(["pool", *words])
    assert rest == []
    return vars(found)


@pytest.mark.parametrize("name", ["run", "plan", "graph", "why"])
def test_words_may_stand_between_options(name, parser):
    more = {"graph": ["--output", "x.svg"], "why": ["vm1/image1/a"]}.get(name, [])
    words = ["only=a", "--vt-config", "tests.cfg", "no=b", "--failfast", "mem=2"]
    found = parse(parser, name, *more, *words)
    assert found["pool_words"] == ["only=a", "no=b", "mem=2"]
    assert (found["vt.config"], found["run.failfast"]) == ("tests.cfg", True)
    assert parse(parser, name, *more)["pool_words"] == []
    last = parse(parser, name, "--vt-config", "tests.cfg", *more, "only=a")
    assert last["pool_words"] == ["only=a"] and last["vt.config"] == "tests.cfg"


def test_a_state_is_no_word(parser):
    found = parse(parser, "why", "--vt-config", "t.cfg", "vm1/image1/a", "only=b")
    assert (found["pool_state"], found["pool_words"]) == ("vm1/image1/a", ["only=b"])


def test_options_of_a_run_are_those_of_avocado_run(parser):
    assert parse(parser, "run", "--json", "-")["stdout_claimed_by"] == "--json"
    assert parse(parser, "plan", "--json")["pool_json"] is True
    for unfit in (["--suite-runner", "nrunner"], ["-p", "a=b"], ["--bogus"]):
        _, rest = parser.parse_known_args(["pool", "run", *unfit])
        assert rest == [unfit[0]]


def shown(parser, name, capsys):
    with pytest.raises(SystemExit) as end:
        parser.parse_args(["pool", name, "--help"])
    assert end.value.code == 0
    return capsys.readouterr().out


def test_help_shows_what_has_an_effect(parser, capsys):
    run = shown(parser, "run", capsys)
    assert "--failfast" in run and "--vt-config" in run and "--suite-runner" not in run
    plan = shown(parser, "plan", capsys)
    assert "--failfast" not in plan and "--vt-config" in plan
    assert parse(parser, "plan", "--failfast")["run.failfast"] is True
    assert "--failfast" in shown(parser, "run", capsys), "what one command hides is its own"
