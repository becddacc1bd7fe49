"""What is found out about a cache or pool, as values."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from avocado_pool_plugin.core.records import FileInfo

#: Kinds of findings: content that is not what was recorded; what can't be read; a file that others
#: need and that is not there; a record, or that of a writer that died; another parent than the one
#: a state was made on; a chain without an end; a backing name that works in one place only; what
#: QEMU says of an image; a vm state without its images; a link that leads nowhere; what is no file
#: where a state should be; a state that is good itself, on one that is not.
CORRUPT, UNREADABLE, MISSING = "corrupt", "unreadable", "missing"
RECORD, PENDING, PARENT = "record", "pending", "parent"
CIRCLE, BACKING, IMAGE = "circle", "backing", "image"
VM_STATE, DANGLING, STRAY, BROKEN = "vm state", "dangling", "stray", "broken"

#: What was done about a finding.
REPAIRED, QUARANTINED = "repaired", "quarantined"
#: What became of a file, what matters most last.
BAD = "bad"
_WORDS = ("", BROKEN, REPAIRED, QUARANTINED, BAD)


@dataclass(frozen=True)
class Finding:
    """
    Something that is not as it should be.

    :param path: the file
    :param title: what users call it
    :param kind: one of the above
    :param text: what is so
    :param done: ``REPAIRED``, ``QUARANTINED``, or empty
    :param told: how that was done, or why not
    :param wanted: what the file should contain, each good enough; empty if nobody knows
    :param found: digest of what it contains, as far as that is known
    """

    path: str
    title: str
    kind: str
    text: str
    done: str = ""
    told: str = ""
    wanted: tuple[FileInfo, ...] = field(default=(), compare=False, repr=False)
    found: str = field(default="", compare=False, repr=False)

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from others: the file and the kind."""
        return (self.path, self.kind)

    def dump(self) -> dict[str, Any]:
        """Return it for programs."""
        names = ("title", "path", "kind", "text", "done", "told")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Report:
    """
    What became of a check of a place.

    :param place: the location
    :param states: how many were looked at
    :param fine: how many of them have nothing wrong
    :param files: how many of them were read this time
    :param size: bytes that were read
    :param seconds: how long it took
    :param before: how many were read by a run that was interrupted, and not again
    :param findings: what is not as it should be, sorted by path
    :param notes: what is worth knowing and fine
    """

    place: str
    states: int
    fine: int
    files: int
    size: int
    seconds: float
    before: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many files are not fine, by what became of them."""
        bad: dict[str, str] = {}
        for finding in self.findings:
            word = finding.done or (BROKEN if finding.kind == BROKEN else BAD)
            if _WORDS.index(word) > _WORDS.index(bad.get(finding.path, "")):
                bad[finding.path] = word
        return {word: sum(one == word for one in bad.values()) for word in _WORDS[1:]}

    def dump(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "where": self.place,
            "states": self.states,
            "fine": self.fine,
            "read": self.files,
            "bytes": self.size,
            "seconds": round(self.seconds, 3),
            "before": self.before,
            **self.counts,
            "findings": [finding.dump() for finding in self.findings],
            "notes": list(self.notes),
        }


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings as users read them."""
    return tuple(sorted(findings, key=lambda finding: finding.key))
