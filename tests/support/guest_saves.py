"""Saves of running guests that are killed: old or new, and never half."""

import time
from functools import cached_property
from pathlib import Path

from virttest.utils_params import Params

from avocado_pool_plugin.core.errors import ImageInUse
from avocado_pool_plugin.states import setup
from tests.support.guests import generation, left_as_they_are, whole, with_ready
from tests.support.jobs import Job
from tests.support.vms import sound

#: Seconds that a QEMU may take to end.
_PATIENCE = 30


class KilledSaves:
    """A worker whose guest has a vm state ``checkpoint``, which is then saved once more."""

    def __init__(self, root: Path) -> None:
        self._worker = with_ready(root)
        asked = {"get_state_vms": "ready", "memory_wanted": "answer"}
        self._worker.do("recall", set_state_vms="checkpoint", **asked).passed()

    @cached_property
    def steps(self) -> int:
        """The number of steps of a save that nobody kills."""
        counted = self._worker.cache.parent / "counted"
        with left_as_they_are(self._worker.cache):
            self._save(10**9, counted).passed()
        return int(counted.read_text())

    def _save(self, after: int, counted: Path | str = "") -> Job:
        return self._worker.do(
            "killed",
            get_state_vms="ready",
            memory_wanted="answer",
            kill_after=after,
            counted=counted,
            pool_scope="own",
            remove_image="no",
        )

    def killed(self, after: int, *, resumed: bool) -> bool:
        """
        Kill a save after some steps, and make sure that all is old or new.

        :param resumed: look into the guest that is resumed from it as well
        :return: whether it is new
        """
        with left_as_they_are(self._worker.cache):
            ram = self._worker.ram("checkpoint")
            old = generation(ram)
            assert self._save(after).status != 0, "it was not killed"
            self._check_files(ram)
            new = generation(ram) != old
            if resumed:
                self._check_guest(new)
        return new

    def _check_files(self, ram: Path) -> None:
        cache, image = self._worker.cache, self._worker.env.images / "vm1.qcow2"
        params = Params(
            {
                "vms": "vm1",
                "images": "image1",
                "image_name": str(image.with_suffix("")),
                "swarm_pool": str(cache),
                "pool_scope": "own",
            }
        )
        # the next operation completes it or takes it back
        assert {"checkpoint", "ready"} <= set(_shown(params))
        assert whole(ram)
        sound(self._worker.image_state("checkpoint"))
        sound(image)
        left = [path for path in cache.rglob("*") if path.name.endswith(".part")]
        left += list((cache / "vm1" / ".pool" / "intents").glob("*.json"))
        assert left == []

    def _check_guest(self, new: bool) -> None:
        """What a guest remembers is of one moment."""
        wanted, unwanted = ("answer before", "") if new else ("answer", "before")
        asked = {"get_state_vms": "checkpoint", "pool_scope": "own"}
        job = self._worker.do("recall", memory_wanted=wanted, memory_unwanted=unwanted, **asked)
        job.passed()


def _shown(params: Params) -> list[str]:
    """Return the states, once the QEMU of the killed test has ended, which takes a moment."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            found: list[str] = setup.show_states(params)
            return found
        except ImageInUse:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
