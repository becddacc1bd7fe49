"""Which of several pools is nearest, and in whose scope each of them is."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Seat:
    """
    Where a cache or a pool sits.

    :param gateway: its network (``nets_gateway``)
    :param host: its host (``nets_host``)
    :param path: its directory, a location's path
    """

    gateway: str
    host: str
    path: str


def scope_of(pool: Seat, cache: Seat, shared: Sequence[str]) -> str:
    """
    Return the scope that a pool belongs to, seen from a cache.

    :param shared: paths of the shared pools
    """
    if pool.gateway != cache.gateway:
        return "cluster"
    if pool.host != cache.host:
        return "swarm"
    if pool.path in shared:
        return "shared"
    return "own" if pool.path == cache.path else "shared"


def nearness(pool: Seat, cache: Seat) -> int:
    """Return how near a pool is to a cache; more is nearer."""
    score = 10 if pool.path == cache.path else 1
    if pool.gateway == cache.gateway:
        score += 1000
    if pool.host == cache.host:
        score += 100
    return score
