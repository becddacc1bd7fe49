"""A scene that is hurt at each of its calls in turn, and what has to be right each time."""

import shutil
from pathlib import Path

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import chain, knowledge, vmstate
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.states.recover import recover_states
from tests.support.images import guest_bytes
from tests.support.places import digest_of
from tests.support.vms import Lab
from tests.torture.faults import KILL, PARTIAL, SHORT, Faults, Outcome
from tests.torture.looks import IMAGE, LOOKED_AT, states, unfinished
from tests.torture.scenes import Scene, known

#: What a guest would see of the images with these digests, as all runs have the same ones.
_seen: dict[tuple[str, ...], str] = {}
View = dict[str, str]


class Sweep:
    """
    Runs a scene once for each point.

    Images name absolute paths, so all runs are at one place; what was before is copied to there.

    :ivar calls: names of the write-side calls of the scene's work
    """

    def __init__(self, scene: Scene, faults: Faults, root: Path) -> None:
        self._scene, self._faults, self._root = scene, faults, root
        self._place, self._template = root / "lab", root / "template"
        self._lab = Lab(self._place)
        scene.make(self._lab)
        known(
            self._place
        )  # a copy of what nobody has read yet could not be told from a changed one
        self._place.rename(self._template)
        self.fresh()
        self._before = self._view()
        done = self._run()
        assert done.status == 0, done
        self.calls = done.calls
        self._after = self._view()
        assert self._before != self._after, f"{scene.name} does nothing"

    def points(self, hows: tuple[str, ...], seed: int) -> list[tuple[int, str]]:
        """Return all calls, each with one way to hurt it; another seed begins with another way."""
        found = []
        for at, call in enumerate(self.calls, 1):
            able = [how for how in hows if how != SHORT or call in PARTIAL]
            found.append((at, able[(at + seed) % len(able)]))
        return found

    def fresh(self) -> None:
        """Bring everything back to how it was before."""
        shutil.rmtree(self._place, ignore_errors=True)
        shutil.copytree(self._template, self._place, symlinks=True)
        known(self._place)
        self._scene.ready(self._lab)

    def hurt(self, at: int, how: str) -> Outcome:
        """Do the work; it is hurt at a call."""
        self.fresh()
        return self._run(at, how)

    def _run(self, at: int = 0, how: str = KILL) -> Outcome:
        return self._faults.run(lambda: self._scene.work(self._lab), self._root, at, how)

    # -- what is right afterwards ---------------------------------------------------------------

    def check(self) -> None:
        """
        Make sure that nothing is lost or half, and that the next try heals.

        :raises AssertionError: it is not so
        """
        self._check_states()
        recover_states(dict(self._lab.params()))
        self._check_states()
        self._check_image()
        again = self._run()
        assert again.status == 0, f"the next try fails: {again.said}"
        assert self._view() == self._after, "the next try does not heal"
        self._check_states()
        assert unfinished(self._lab) == [], "notes on something unfinished stay"

    def _check_states(self) -> None:
        """All that is visible is old or new, as a whole, and true; nothing else came or went."""
        found = self._view(image=False)
        for name in self._before.keys() | self._after.keys() | found.keys():
            if name == IMAGE:
                continue
            allowed = {view.get(name) for view in (self._before, self._after)}
            assert found.get(name) in allowed, f"{name} is {found.get(name)}, not of {allowed}"
        for name in found:
            if found[name] == self._after.get(name):
                self._check_true(self._place / name)

    def _check_true(self, path: Path) -> None:
        info = knowledge.identify(str(path), Policy())
        assert info is not None, f"{path} is not known"
        if info.digest:
            assert info.digest == digest_of(path), f"{path} is not what its record says"
        if path.suffix == ".state":
            assert info.passport is not None
            # a pool's files are replaced one by one; who reads them compares them first
            if "pool" not in path.parts:
                assert vmstate.strangers(str(path), info.passport) == []
        elif not self._scene.exact:  # there what it stands on may still be damaged
            chain.verify(str(path.parent), path.stem, Policy())

    def _check_image(self) -> None:
        found = self._view()
        assert found.get(IMAGE) in (self._before.get(IMAGE), self._after.get(IMAGE)), (
            f"the working image is {found.get(IMAGE)}"
        )

    def _view(self, image: bool = True) -> View:
        """Return what a guest would see of all images, and the digests of RAM files."""
        look = digest_of if self._scene.exact else _look
        found = {name: look(path) for name, path in states(self._lab).items()}
        working = self._lab.image()
        if image and working.exists():
            # what a commit that failed has leaked is room, and nothing else
            assert not qemu.damage(str(working)), f"the working image: {qemu.damage(str(working))}"
            found[IMAGE] = str(guest_bytes(working, LOOKED_AT))
        return found


def _look(path: Path) -> str:
    """Return what a guest would see of a state; the digest of one of a vm."""
    files = [path]
    if path.suffix == ".qcow2":
        files += sorted(path.parent.glob("*.qcow2"))
    key = tuple(f"{file.name} {digest_of(file)}" for file in files)
    if key not in _seen:
        image = path.suffix == ".qcow2"
        _seen[key] = str(guest_bytes(path, LOOKED_AT)) if image else key[0]
    return _seen[key]
