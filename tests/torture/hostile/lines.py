"""Command lines of ``avocado pool``, and what jobs left that graph runs read."""

import json
import os
import random
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from avocado_pool_plugin.plugins import text as plans
from avocado_pool_plugin.plugins.commands import COMMANDS
from avocado_pool_plugin.plugins.runner import passed_in
from avocado_pool_plugin.states.recipes import PARTS_PARAM, noted_parts
from tests.support import checking
from tests.support.jobs import Worker
from tests.torture.hostile import mutate
from tests.torture.hostile.cage import judge
from tests.torture.hostile.commands import STATUSES, Commands
from tests.torture.row import Row, Wish

#: Commands that need tests, or look at the whole machine, are left out: they are not about places.
_VERBS = {"get", "set", "unset", "push", "pop", "check"}
_LEFT_OUT = {"run", "plan", "graph", "why", "doctor", "backends", *_VERBS}
_OPTIONS = (
    "--at", "--pool-location", "--pool-cache", "--pool-lock-timeout", "--sample", "--rate",
    "--pool-limit", "--cache-limit", "--older-than", "--json", "--dry-run", "--all", "--yes",
    "--repair", "--pool-scope", "--recipe", "--read", "--nonsense",
)  # fmt: skip
_RESULTS = {
    "job_id": "0123456789abcdef",
    "tests": [{"name": "a", "status": "PASS", "fail_reason": "", "time_elapsed": 1.5}],
}


class Desk:
    """A pool and a cache that command lines are about, and what is none of their business."""

    def __init__(self, root: Path) -> None:
        self.root = root
        checking.make_pool(root / "pool", "base", "install")
        self.outside = root / "outside"
        self.outside.mkdir()
        (self.outside / "secret.qcow2").write_bytes(b"secret")
        self.commands = Commands()
        self.examples = [
            re.sub(r"/(srv|mnt)/\w+", f"{root}/pool", line).replace("store:", ":")
            for command in COMMANDS
            for line in command.examples
            if command.name not in _LEFT_OUT
        ]
        self.around = {*os.listdir(root), "cache"}
        self.samples = (
            f":{root}/pool", f"{root}/pool", f":{root}/cache", f"{root}/cache", ":/nowhere;",
            "vm1", "vm1/image1", "vm1/image1/install", "vm1/install", "cache", "pools", "all",
            "3/7", "7 d", "1GiB", "10", "list", "restore", "empty", "--", "-",
        )  # fmt: skip

    def line(self, dice: random.Random) -> list[str]:
        """Return a command line that is wrong in some way, or right by chance."""
        words = shlex.split(dice.choice(self.examples))
        for _ in range(dice.randrange(3)):
            odd = dice.choice(dice.choice((_OPTIONS, self.samples, mutate.WORDS)))
            at = dice.randrange(1, len(words) + 1)
            words[at : at + dice.randrange(2)] = [odd]
        # nothing is done to this machine's own states
        return [*words, "--pool-cache", str(self.root / "cache")]


def rows(wish: Wish) -> Iterator[Row]:
    """Command lines in this process and by the program, then files of jobs."""
    with wish.directory("hostile-lines") as directory:
        desk, dice = Desk(directory), wish.dice("lines")
        lines = [desk.line(dice) for _ in range(wish.few(1200, 100))]
        row = Row(
            "command lines of avocado pool",
            "exit status 0, 1 or 2, one sentence where something is wrong, nothing elsewhere",
        )
        some = [(f"avocado pool {' '.join(map(repr, line))}", (desk, line)) for line in lines]
        yield judge(row, _run, some)
        yield _programs(wish, desk, dice)
        row = Row(
            "results of jobs to replay, plans and recipes in params",
            "refused by a sentence, or taken for none",
        )
        results = json.dumps(_RESULTS).encode()
        texts = [mutate.json_of(results, dice) for _ in range(wish.few(600, 60))]
        yield judge(row, _replay, [(f"file {n}", (desk, t)) for n, t in enumerate(texts)])


def _run(given: tuple[Desk, list[str]]) -> str:
    desk, line = given
    os.chdir(desk.outside)
    status = desk.commands.run(*line)
    assert sorted(os.listdir(desk.outside)) == ["secret.qcow2"]
    assert (desk.outside / "secret.qcow2").read_bytes() == b"secret"
    assert set(os.listdir(desk.root)) <= desk.around, os.listdir(desk.root)
    return f"status {status}"


def _programs(wish: Wish, desk: Desk, dice: random.Random) -> Row:
    """Have some command lines run by the real program."""
    row = Row("the same by the program itself", "the same, and no traceback")
    worker = Worker(desk.root / "outside" / "worker", "")
    for number in range(wish.few(40, 3)):
        # no program can be given these
        words = [word.replace("\0", "").replace("\ud800", "") for word in desk.line(dice)]
        words = [word[:60_000] for word in words]
        wish.progress(f"command lines: {number}")
        with row.trying(f"avocado pool {' '.join(map(repr, words))}"):
            done = worker.avocado("pool", *words)
            row.count(f"status {done.returncode}")
            assert done.returncode in STATUSES, done
            assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return row


def _replay(given: tuple[Desk, bytes]) -> None:
    desk, text = given
    job = desk.root / "pool" / "job"
    job.mkdir(exist_ok=True)
    (job / "id").touch()
    (job / "results.json").write_bytes(text)
    (job / f"{plans.PLAN_STEM}.json").write_bytes(text)
    plans.read_plans(str(job))
    noted_parts({PARTS_PARAM: text.decode("utf-8", "replace")})
    found = passed_in(str(job), str(job))
    assert all(isinstance(test, str) for test in found)
