"""Saves of running guests that are killed: old or new, and never half."""

import pytest

from tests.support.guest_saves import KilledSaves

pytestmark = pytest.mark.guest

#: How many points of a save are tried, spread evenly over all of them.
POINTS = 9


@pytest.fixture(scope="module")
def saves(tmp_path_factory: pytest.TempPathFactory) -> KilledSaves:
    return KilledSaves(tmp_path_factory.mktemp("killed"))


@pytest.mark.parametrize("point", range(POINTS))
def test_old_or_new_at_every_point(saves: KilledSaves, point: int) -> None:
    saves.killed(saves.steps * point // POINTS, resumed=point in (1, POINTS - 2))
