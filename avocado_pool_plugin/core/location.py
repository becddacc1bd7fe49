"""Where states are kept, as users write it: ``:/dir``, ``:/dir;``, ``label:/dir``."""

import re
from dataclasses import dataclass

from avocado_pool_plugin.core.errors import LocationRefused

_LABEL = re.compile(r"[A-Za-z0-9_.-]*")
#: a link marker stands at the end of a path or of one of its parts, never inside a name
_MARKER = re.compile(r";(?=/|$)")
_NEXT = re.compile(r"\s+(?=[A-Za-z0-9_.-]*:/)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Location:
    """
    A place with a path: a local directory or file, one reached by symlinks, or one on a host.

    ``Location.parse(str(location)) == location`` holds for every value.

    :param path: absolute path; no part of it ends in ``;``
    :param label: name of the remote host's params, empty for a local path
    :param link: states are symlinked instead of copied (local paths only)
    :raises LocationRefused: the values do not make a location
    """

    path: str
    label: str = ""
    link: bool = False

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise LocationRefused(
                f"location {self._text()!r} {problem}; write ':/dir' for a directory, ':/dir;' for "
                f"one to be symlinked, 'label:/dir' for a host"
            )
        tidy = re.sub(r"/+", "/", self.path)
        object.__setattr__(self, "path", tidy.rstrip("/") or "/")

    def _problem(self) -> str:
        if not self.path.startswith("/"):
            return "has no absolute path"
        if _CONTROL.search(self.path):
            return "holds a control character"
        if _MARKER.search(self.path):
            return "has a second ';' at the end of a path part"
        if not _LABEL.fullmatch(self.label):
            return f"has a label {self.label!r} with more than letters, digits and '_.-'"
        if self.link and self.label:
            return "is on a host, where nothing can be symlinked"
        if self.path.rstrip("/").strip() != self.path.rstrip("/"):
            return "ends in a blank"
        return ""

    def _text(self) -> str:
        return f"{self.label}:{self.path}{';' if self.link else ''}"

    def __str__(self) -> str:
        return self._text()

    @property
    def remote(self) -> bool:
        """Whether it is on a host that needs a session."""
        return bool(self.label)

    @classmethod
    def parse(cls, text: str) -> "Location":
        """
        Read a location; the ``;`` of a link may stand before later path parts.

        :raises LocationRefused: it is none
        """
        label, colon, path = text.partition(":")
        if not colon:
            raise LocationRefused(
                f"location {text!r} has no ':'; write {f':{text}'!r} for a local directory"
            )
        plain = _MARKER.sub("", path, count=1)
        return cls(path=plain, label=label, link=plain != path)

    @classmethod
    def from_setting(cls, text: str) -> "Location":
        """Read a location, or a bare absolute path that means a local directory."""
        return cls.parse(f":{text}" if text.startswith("/") else text)


def split_locations(text: str) -> list[str]:
    """Split a list of locations: only at blanks that a ``[label]:/`` follows, paths hold spaces."""
    return [part for part in _NEXT.split(text.strip()) if part]
