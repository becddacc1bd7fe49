"""What the tests of a job did with states, summed up: as a line of text, and as numbers."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from avocado_pool_plugin.plugins.text import human_size

#: What a summary line speaks of, in this order; bytes are told for those that move content.
_VERBS = ("got", "fetched", "set", "published", "unset")
_MOVING = ("fetched", "published")


class _Tally:
    """
    Counts and sums of events.

    :ivar counts: how often each verb was done; ``error``, ``hit`` and ``miss`` are counted as well
    :ivar sizes: bytes by verb
    :ivar seconds: of all events; an event's own are without those of others
    """

    def __init__(self, events: Iterable[dict[str, Any]]) -> None:
        self.counts: Counter[str] = Counter()
        self.sizes: Counter[str] = Counter()
        self.seconds = 0.0
        for event in events:
            verb = "error" if "error" in event else str(event.get("verb"))
            self.counts[verb] += 1
            self.sizes[verb] += int(event.get("bytes", 0))
            self.seconds += float(event.get("seconds", 0.0))
            if verb == "got" and "hit" in event:
                self.counts["hit" if event["hit"] else "miss"] += 1

    def words(self, verb: str) -> str:
        """Return what is told of a verb."""
        told = f"{self.counts[verb]} {verb}"
        if verb in _MOVING:
            return f"{told} ({human_size(self.sizes[verb])})"
        kinds = [
            f"{self.counts[kind]} {kind if self.counts[kind] == 1 else plural}"
            for kind, plural in (("hit", "hits"), ("miss", "misses"))
            if verb == "got" and self.counts[kind]
        ]
        return f"{told} ({', '.join(kinds)})" if kinds else told


def summary(events: Iterable[dict[str, Any]]) -> str:
    """
    Return counts, sizes and seconds of events as a line of text, empty if there are none.

    :param events: as the tests of a job left them, see ``report.Event``; those that have no verb
        are errors
    """
    tally = _Tally(events)
    parts = [tally.words(verb) for verb in _VERBS if tally.counts[verb]]
    errors = tally.counts["error"]
    if errors:
        parts.append(f"{errors} error{'s' if errors > 1 else ''}")
    if tally.seconds:
        parts.append(f"{tally.seconds:.1f} s")
    return ", ".join(parts)


def sums(events: Sequence[dict[str, Any]], plans: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """
    Return what was done in numbers, for programs; nothing if nothing was done.

    :param events: see :func:`summary`
    :param plans: what graph runs wrote about themselves
    :return: ``bytes`` of files that were moved, ``fetched`` and ``published`` files, ``hits`` and
        ``misses`` (gets for which nothing or something was fetched), states of graph runs that were
        ``reused``, ``seconds`` that all this took, ``errors``
    """
    tally, reused = _Tally(events), sum(int(told["reused"]) for told in plans)
    if not events and not reused:
        return {}
    return {
        "bytes": sum(tally.sizes[verb] for verb in _MOVING),
        "fetched": tally.counts["fetched"],
        "published": tally.counts["published"],
        "hits": tally.counts["hit"],
        "misses": tally.counts["miss"],
        "reused": reused,
        "seconds": round(tally.seconds, 3),
        "errors": tally.counts["error"],
    }
