"""A host that keeps states, as users describe it."""

import re
from dataclasses import dataclass, field

from avocado_pool_plugin.core.errors import SettingRefused

#: Policies for host keys: an unknown key is kept from now on, or every unknown key is refused.
ACCEPT_NEW, STRICT = "accept-new", "strict"

_ADDRESS = re.compile(r"[A-Za-z0-9_.:%\[\]-]+")
_USER = re.compile(r"[A-Za-z0-9_.@\\+$-]+")


@dataclass(frozen=True)
class Host:
    """
    A host to log in to.

    :param label: what locations call it
    :param address: name or address; a name that the user's OpenSSH configuration knows is fine
    :param port: TCP port, 0 for the one of the user's OpenSSH configuration
    :param user: whom to log in as, empty for the one of the user's OpenSSH configuration
    :param password: empty to log in by key
    :param config: OpenSSH configuration file to use in place of the user's, empty for the user's
    :param host_keys: ``ACCEPT_NEW`` or ``STRICT``
    :param timeout: seconds without an answer, or without a byte of a transfer
    :raises SettingRefused: a value could not be one
    """

    label: str
    address: str
    port: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    config: str = ""
    host_keys: str = ACCEPT_NEW
    timeout: float = 60.0

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise SettingRefused(f"host {self.label!r} {problem}")

    def _problem(self) -> str:
        # what starts with a dash would be an option to ssh
        if not _ADDRESS.fullmatch(self.address) or self.address.startswith("-"):
            return f"has nets_shell_host = {self.address!r}, expected the name or address of a host"
        if self.user and (not _USER.fullmatch(self.user) or self.user.startswith("-")):
            return f"has nets_username = {self.user!r}, expected the name of a user"
        if not 0 <= self.port < 65536:
            return f"has nets_shell_port = {self.port}, expected a TCP port"
        if self.host_keys not in (ACCEPT_NEW, STRICT):
            return f"has ssh_host_keys = {self.host_keys!r}, expected {ACCEPT_NEW} or {STRICT}"
        if set(self.password) & set("\n\r\0"):
            return "has a nets_password with a line break or a null byte, which can't be typed"
        return ""

    @property
    def key(self) -> tuple[str, int, str, str, str]:
        """What tells connections apart: where they go to and as whom, not what that is called."""
        return (self.address, self.port, self.user, self.config, self.host_keys)

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        port = f" port {self.port}" if self.port else ""
        return f"{user}{self.address}{port}"
