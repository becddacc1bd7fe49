"""What a test costs more that gets a cached state: inside its hooks, and as a whole."""

import statistics
import tempfile
from collections.abc import Iterator
from typing import Any

from benchmarks.jobs import environment, run_test
from benchmarks.lab import CHAIN, Lab
from benchmarks.measure import Contender, alternate, show
from benchmarks.rows.bench import Bench
from benchmarks.table import SLACK, Row, alone

#: Seconds that a cached state may cost a test.
_AIM = 0.1


def rows(bench: Bench) -> Iterator[Row]:
    """Yield both rows."""
    lab = bench.chain(bench.ext4)
    yield _hooks(bench, lab)
    yield _job(bench, lab)


def _hooks(bench: Bench, lab: Lab) -> Row:
    """The time inside our hooks."""
    from virttest import env_process

    from avocado_pool_plugin.plugins import vt

    class Env(dict[str, Any]):
        def get_vm(self, name: str) -> Any:
            return self.get(name)

    class Test:
        logdir = outputdir = debugdir = tempfile.mkdtemp(dir=bench.ext4)

    def around() -> None:
        params, env = lab.params(get_state_images=CHAIN[-1][0]), Env()
        params["remove_image"] = "no"
        vt.install(Test(), params)
        env_process.preprocess_vm_off_hook(Test(), params, env)
        env_process.preprocess_vm_on_hook(Test(), params, env)
        params["test_passed"] = "True"
        env_process.postprocess_vm_on_hook(Test(), params, env)
        env_process.postprocess_vm_off_hook(Test(), params, env)

    found = alternate({"ours": Contender(around)}, bench.runs)["ours"]
    return alone("hooks around a test, warm get", "<= 0.1 s", found)


def _job(bench: Bench, lab: Lab) -> Row:
    """
    A real job of one test that does nothing, to see the same from outside.

    Unlike the row before, a test imports all that it needs. A quick check looks at the test alone:
    Avocado's own waits, some of 0.1 s, come and go.
    """
    env = environment(bench.ext4 / "job", lab)
    tests: dict[str, list[float]] = {"ours": [], "--pool-off": []}

    def run(name: str, verbs: list[str], *options: str) -> float:
        ran = run_test(env, "nothing", verbs, *options)
        tests[name].append(ran.test)
        return ran.wall

    found = alternate(
        {
            "ours": Contender(lambda: run("ours", ["got"])),
            "--pool-off": Contender(lambda: run("--pool-off", [], "--pool-off")),
        },
        bench.runs,
    )
    ours, off = found.values()
    more = _more(ours.seconds, off.seconds)
    # the first of each was not counted
    inside = _more(*(seconds[1:] for seconds in tests.values()))
    return Row(
        "no-op test, avocado run, with a warm get beside --pool-off",
        "<= 0.1 s more",
        str(ours),
        f"--pool-off {off}",
        f"{show(more)} more; the test alone {show(inside)} more",
        inside > _AIM * SLACK,
        found,
    )


def _more(ours: list[float], others: list[float]) -> float:
    """Return the median of the differences pair by pair, in seconds."""
    return statistics.median(mine - other for mine, other in zip(ours, others, strict=True))
