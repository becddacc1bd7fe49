"""Workers whose pool is on another host, and who logs in there."""

from pathlib import Path
from typing import Any

from avocado_pool_plugin.ssh import session
from tests.support.sshd import Sshd
from tests.support.vms import Lab


class RemoteLab(Lab):
    """
    A lab whose pool is on another host, if the params do not say otherwise.

    :param host: the server there; the directory of the pool is the same as seen from here
    """

    def __init__(self, root: Path, host: Sshd, cache: str = "cache") -> None:
        super().__init__(root, cache)
        self.host = host

    @property
    def location(self) -> str:
        """See :attr:`Lab.location`."""
        return f"lab:{self.pool}"

    def params(self, vms: str = "vm1", images: str = "image1", **more: str) -> Any:
        """See :meth:`Lab.params`."""
        return super().params(vms, images, **{**self.host.params(), **more})


class Logins:
    """Counts who logs in on a server from now on; nobody is logged in at the start."""

    def __init__(self, host: Sshd) -> None:
        session.close_all()
        self._host, self._before = host, host.log().count("Accepted ")

    def __call__(self) -> int:
        return self._host.log().count("Accepted ") - self._before
