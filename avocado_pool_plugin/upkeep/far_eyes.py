"""What only who checks a place looks at, on another host; see eyes.py."""

from collections.abc import Iterable, Mapping

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core.records import Stamp
from avocado_pool_plugin.ssh import survey
from avocado_pool_plugin.ssh.store import RemoteStore


class FarEyes:
    """
    In a directory of another host.

    :param root: the directory
    :param store: for the files in it
    """

    def __init__(self, root: str, store: RemoteStore) -> None:
        self._root = root
        self._store = store
        self._ask = store.view.ask

    def stamps(self, paths: Iterable[str]) -> Mapping[str, Stamp]:
        """See :class:`Eyes`."""
        wanted = list(paths)
        if not wanted:
            return {}
        looks = self._ask("looking at", wanted[0], lambda shell: shell.look(wanted))
        return {path: look.stamp for path, look in looks.items() if look.stamp}

    def strays(self, below: str = "") -> list[str]:
        """See :class:`Eyes`."""
        root = self._root
        return self._ask("listing", root, lambda shell: survey.strays(shell, root, below))

    def check_image(self, path: str) -> str | None:
        """See :class:`Eyes`."""
        image = qemu.alone(path)
        found = self._ask("checking", path, lambda shell: survey.check_image(shell, image))
        if found is None:
            return None
        status, said = found
        return "" if status in qemu.HARMLESS else qemu.told(path, said)
