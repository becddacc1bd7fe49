"""How often a file that others change or replace is read again."""

import pytest

from avocado_pool_plugin.core.attempts import Attempts
from avocado_pool_plugin.core.errors import FileChanging
from avocado_pool_plugin.core.records import Stamp


def stamps(*inodes: int) -> list[Stamp]:
    return [Stamp(inode, 1, 1, number) for number, inode in enumerate(inodes)]


def counted(*inodes: int) -> int:
    """Return how many attempts there are before it is given up."""
    attempts = Attempts("/pool/s.qcow2")
    for number, stamp in enumerate(stamps(*inodes)):
        try:
            attempts.count(stamp)
        except FileChanging as error:
            assert str(error).startswith("/pool/s.qcow2 is being written to")
            return number
    return len(inodes)


def test_one_file_that_is_written_to_is_given_up_soon():
    assert counted(*[7] * 20) == 5


def test_files_that_replace_each_other_are_followed_for_long():
    assert counted(*range(1, 90)) == 89
    assert counted(*range(1, 300)) == 100


@pytest.mark.parametrize("before", [1, 4])
def test_a_new_file_begins_anew(before):
    assert counted(*[7] * before, *[8] * 20) == before + 5
