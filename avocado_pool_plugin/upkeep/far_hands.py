"""What only who takes over a place has to do with its files, on another host; see hands.py."""

from collections.abc import Iterable, Mapping

from avocado_pool_plugin.core.digest import BLOCK, SHA256, Progress, Tree
from avocado_pool_plugin.core.errors import FileChanging
from avocado_pool_plugin.core.qcow2 import Change
from avocado_pool_plugin.core.records import FileInfo, Stamp
from avocado_pool_plugin.core.users import User
from avocado_pool_plugin.ssh import changing, survey
from avocado_pool_plugin.ssh.answers import parse_locks
from avocado_pool_plugin.ssh.content import Digested
from avocado_pool_plugin.ssh.looks import Look
from avocado_pool_plugin.ssh.shelf import FarShelf
from avocado_pool_plugin.ssh.shell import Shell
from avocado_pool_plugin.ssh.store import RemoteStore
from avocado_pool_plugin.upkeep.hands import START, Foreseen
from avocado_pool_plugin.upkeep.site import KERNEL_LOCKS, Entry


class FarHands:
    """
    In a directory of another host.

    :param root: the directory
    :param store: for the files in it
    """

    def __init__(self, root: str, store: RemoteStore) -> None:
        self._root = root
        self._store = store
        self._ask = store.view.ask

    def starts(self, paths: Iterable[str]) -> Mapping[str, bytes]:
        """See :class:`Hands`."""
        wanted = list(paths)
        return self._ask("reading", self._root, lambda shell: changing.starts(shell, wanted, START))

    def others(self) -> list[Entry]:
        """See :class:`Hands`."""
        found = self._ask("listing", self._root, lambda shell: changing.others(shell, self._root))
        return [
            Entry(path, status.stamp, status.allocated, status.device)
            for path, status in sorted(found.items())
        ]

    def foresee(self, path: str, change: Change, progress: Progress | None = None) -> Foreseen:
        """See :class:`Hands`."""
        self._store.view.forget(path)
        look = self._store.view.look(path)
        doing = f"reading {self._store.view.title(path)}"
        found = self._store.session.again(doing, lambda: self._digest(path, progress))
        if found.stamp != look.stamp:
            raise FileChanging(
                f"{self._store.view.title(path)} is being written to; wait until that is done"
            )
        info = self._judge(look, found)
        return Foreseen(info, self._changed(path, change, found), found.stamp)

    def _digest(self, path: str, progress: Progress | None) -> Digested:
        with self._store.session.bulk() as bulk:
            return bulk.digest(path, progress)

    def _judge(self, look: Look, found: Digested) -> FileInfo:
        judge = self._store.judge
        records = judge.view.written(look).candidates()
        algorithm = found.digest.partition(":")[0]
        if all(record.info.by(algorithm) or not record.info.digest for record in records):
            return judge.judge(look, found.digest, found.stamp)
        # a record with none of the digests that this host makes: it has to be read from here
        info = judge.identify(look.path)
        assert info is not None
        return info

    def _changed(self, path: str, change: Change, found: Digested) -> str:
        algorithm = found.digest.partition(":")[0]
        if algorithm == SHA256:
            return self._ask("reading", path, lambda sh: changing.sum_changed(sh, path, change))
        starts = self._ask("reading", path, lambda shell: changing.starts(shell, [path], BLOCK))
        tree = Tree(found.stamp.size, (algorithm,))
        tree.put(0, found.leaves, algorithm)
        first = starts.get(path, b"")
        tree.add(0, memoryview(first))
        if tree.digest(algorithm) != found.digest:
            raise FileChanging(
                f"{self._store.view.title(path)} is being written to; wait until that is done"
            )
        tree.add(0, memoryview(change.applied(first)))
        return tree.digest(algorithm)

    def change(self, path: str, change: Change, stamp: Stamp) -> None:
        """See :class:`Hands`."""
        fsync = self._store.policy.fsync
        self._ask("writing", path, lambda shell: changing.change(shell, path, change, stamp, fsync))
        self._store.view.forget(path)

    def trusted(self, path: str) -> Stamp | None:
        """See :class:`Hands`."""
        return self._ask("looking at", path, lambda shell: changing.trusted(shell, path))

    def in_use(self, path: str) -> bool:
        """See :class:`Hands`."""

        def look(shell: Shell) -> bool:
            found = shell.look([path])[path]
            texts = survey.read(shell, [KERNEL_LOCKS])
            return any(lock.is_on(found) for lock in parse_locks(texts.get(KERNEL_LOCKS, b"")))

        return self._ask("looking at", path, look)

    def standing(self, path: str, noted: Iterable[User]) -> Mapping[str, bool]:
        """See :class:`Hands`."""

        def look(shell: Shell) -> Mapping[str, bool]:
            shelf = FarShelf(shell, path)
            known = {user.path for user in noted}
            found = (user for user in shelf.users(path, None) if user.path in known)
            return {user.path: shelf.open_overlay(user) for user in found}

        return self._ask("looking at", path, look)
