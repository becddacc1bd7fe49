"""Hands out tests one after the other: what waits for nothing any more, the most urgent first."""

import heapq
from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

#: Results of what must have passed that satisfy those who wait.
_GOOD = frozenset({"pass"})


@dataclass(frozen=True)
class Order:
    """
    One test, or another task around it.

    :param key: identifies it
    :param name: what people call it
    :param needs: keys of what must have passed before it can run
    :param after: keys of what must be over before it may run
    :param urgency: the higher, the sooner
    :param files: nothing that shares one of these runs at the same time
    :param spared: why it is not run at all, empty if it is
    :param accepts: results in lower case that satisfy its needs
    """

    key: Hashable
    name: str
    needs: tuple[Hashable, ...] = ()
    after: tuple[Hashable, ...] = ()
    urgency: float = 0.0
    files: frozenset[str] = frozenset()
    spared: str = ""
    accepts: frozenset[str] = _GOOD


@dataclass(frozen=True)
class Turn:
    """
    What is to be done now.

    :param slot: place to run it in, counted from 1; 0 if it is not run
    :param reason: why it is not run
    """

    key: Hashable
    slot: int
    reason: str = ""


class Desk:
    """
    Knows what waits, what is under way and what is over.

    :param orders: all there is to do; needs that are none of them are ignored
    :param slots: how many may run at once
    """

    def __init__(self, orders: Iterable[Order], slots: int) -> None:
        self._orders = {order.key: order for order in orders}
        self._numbers = {key: number for number, key in enumerate(self._orders)}
        self._free = list(range(1, slots + 1))
        self._results: dict[Hashable, str] = {}
        self._running: dict[Hashable, int] = {}
        self._busy: set[str] = set()
        self._waits: dict[Hashable, int] = {}
        self._followers: dict[Hashable, list[Hashable]] = {}
        self._ready: list[tuple[float, int]] = []
        self._left_out: deque[tuple[Hashable, str]] = deque()
        for order in self._orders.values():
            before = {key for key in (*order.needs, *order.after) if key in self._orders}
            self._waits[order.key] = len(before)
            for key in before:
                self._followers.setdefault(key, []).append(order.key)
        self._keys = list(self._orders)
        for key, waits in self._waits.items():
            if not waits:
                self._push(key)

    def next(self) -> Turn | None:
        """Return what may begin, or be left out, now; None if nothing can before something ends."""
        while self._left_out:
            key, reason = self._left_out.popleft()
            if key not in self._results:
                return Turn(key, 0, reason)
        held: list[tuple[float, int]] = []
        turn = None
        while self._ready and self._free and turn is None:
            entry = heapq.heappop(self._ready)
            order = self._orders[self._keys[entry[1]]]
            if order.key in self._results:
                continue  # ended without having been handed out
            if order.files & self._busy:
                held.append(entry)
                continue
            turn = Turn(order.key, heapq.heappop(self._free))
            self._running[order.key] = turn.slot
            self._busy |= order.files
        for entry in held:
            heapq.heappush(self._ready, entry)
        return turn

    def over(self, key: Hashable, result: str) -> None:
        """Note that something ended, whether it was handed out or not; a second time is ignored."""
        if key not in self._orders or key in self._results:
            return
        self._results[key] = result.lower()
        self._release(key)
        for follower in self._followers.get(key, ()):
            self._waits[follower] -= 1
            if not self._waits[follower]:
                self._push(follower)

    def put_back(self, key: Hashable) -> None:
        """Take back what was handed out but could not begin."""
        if key in self._running:
            self._release(key)
            self._push(key)

    def _release(self, key: Hashable) -> None:
        slot = self._running.pop(key, 0)
        if slot:
            heapq.heappush(self._free, slot)
            self._busy -= self._orders[key].files

    def _push(self, key: Hashable) -> None:
        """Take up what waits for nothing any more."""
        order = self._orders[key]
        reason = order.spared or self._unmet(order)
        if reason:
            self._left_out.append((key, reason))
        else:
            heapq.heappush(self._ready, (-order.urgency, self._numbers[key]))

    def _unmet(self, order: Order) -> str:
        """Return what an order needs that did not pass."""
        unmet = [
            f"{self._orders[key].name}: {self._results[key].upper()}"
            for key in order.needs
            if key in self._orders and self._results[key] not in order.accepts
        ]
        return f"needs {', '.join(unmet)}" if unmet else ""
