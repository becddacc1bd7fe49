"""``pre_test.control``: the hook file of each test, alone and where the plugin has hooks too."""

import pytest

from benchmarks.environment import Answering
from tests.functional.i2n.conftest import ask
from tests.support.i2n import Answered, Suite, changed_control, recorded
from tests.support.vms import backing, holds, sound, write

PRE = ("preprocess_vm_off_hook", "preprocess_vm_on_hook")
POST = ("postprocess_vm_on_hook", "postprocess_vm_off_hook")


@pytest.fixture(params=["alone", "with the plugin"])
def plugin(request) -> bool:
    return request.param != "alone"


class Run:
    """One test of a suite with its hook file."""

    def __init__(self, program: Answering, suite: Suite, plugin: bool) -> None:
        self.program, self.suite, self.plugin = program, suite, plugin
        self.file = suite.root / "pre_test.control"
        self.file.write_text(changed_control("pre_test.control"))

    def begin(self, of: Suite | None = None, **params: str) -> list[str]:
        """Begin a test; return what the hooks did with states, those before vms run first."""
        self.assigned = ask(
            self.program, "begin", file=str(self.file), plugin=self.plugin,
            params=(of or self.suite).params(**params), logdir=str(self.suite.root),
        )  # fmt: skip
        return self._call(PRE)

    def end(self, passed: bool = True) -> list[str]:
        return self._call(POST, test_passed=str(passed))

    def _call(self, hooks, **params: str) -> list[str]:
        return [
            line for hook in hooks for line in ask(self.program, "call", hook=hook, params=params)
        ]


@pytest.fixture
def run(hooks, suite, plugin):
    return Run(hooks, suite, plugin)


def test_one_test_leaves_a_state_and_another_starts_from_it(run, suite, plugin):
    suite.make_image()
    assert run.begin(set_state_images="s1") == []
    assert all(("avocado_pool_plugin" in name) == plugin for name in run.assigned)
    write(suite.image, 1)
    assert run.end() == ["set s1"]
    assert recorded(suite.state("s1")) and holds(suite.state("s1"), 1)
    assert not suite.pool.exists(), "the control file says that only a get reaches the pool"

    write(suite.image, 9)
    # the locations as avocado-i2n gives them to a test: the pool, and its own worker
    where = {"get_location_image1_vm1": f":{suite.pool} net1:{suite.cache}"}
    assert run.begin(get_state_images="s1", set_state_images="s2", **where) == ["got s1"]
    assert holds(suite.image, 1)
    write(suite.image, 2, "1M")
    assert run.end() == ["set s2"]
    assert backing(suite.state("s2")) == "s1.qcow2"
    sound(suite.state("s2"))


def test_states_come_from_the_pool(run, suite, policy):
    write(suite.make_image(), 1)
    policy("set", set_state_images="s1")
    other = Suite(suite.root, "host2")
    assert run.begin(other, get_state_images="s1") == ["fetched s1", "got s1"]
    assert holds(other.image, 1) and recorded(other.state("s1"))
    assert run.end() == []


def test_state_that_is_missing(run, suite):
    suite.make_image()
    with pytest.raises(Answered, match="s1") as error:
        run.begin(get_state_images="s1")
    assert "TestAbortError" in error.value.kinds


def test_failed_test_leaves_a_state_too(run, suite):
    """So the control file has it, and so the docs say."""
    suite.make_image()
    run.begin(set_state_images="s1")
    assert run.end(passed=False) == ["set s1"]


def test_set_that_fails_costs_no_state(run, suite):
    suite.make_image()
    run.begin(set_state_images="s1")
    write(suite.image, 1)
    run.end()
    run.begin(get_state_images="s1", set_state_images="s1")
    suite.image.unlink()
    with pytest.raises(Answered, match="does not exist"):
        run.end()
    assert holds(suite.state("s1"), 1)
