import errno

import pytest

from avocado_pool_plugin.core import durable
from avocado_pool_plugin.core.errors import (
    ChainBroken,
    FileCorrupt,
    LockTimeout,
    MirrorsFailed,
    ParentChanged,
    PoolError,
    PoolSilent,
    PoolUnreachable,
    SpaceMissing,
    StateMissing,
    combined,
    unreachable,
)


class Foreign(SpaceMissing):
    """An error of another package, which is not made of a text."""

    def __init__(self, free, needed):
        super().__init__(f"{free} of {needed}")


@pytest.mark.parametrize(
    ("problems", "kind"),
    [
        ([SpaceMissing("x")], SpaceMissing),
        ([SpaceMissing("x"), SpaceMissing("y")], SpaceMissing),
        ([StateMissing("x"), StateMissing("y")], StateMissing),
        ([ParentChanged("x"), ChainBroken("y")], ChainBroken),
        ([PoolUnreachable("x"), PoolSilent("y")], PoolUnreachable),
        ([PoolSilent("x"), LockTimeout("y")], MirrorsFailed),
        ([SpaceMissing("x"), PoolUnreachable("y")], MirrorsFailed),
        ([PoolError("x")], MirrorsFailed),
        ([Foreign(1, 2), SpaceMissing("y")], SpaceMissing),
    ],
)
def test_several_errors_are_one_of_what_they_have_in_common(problems, kind):
    error = combined("all of it", problems)
    assert type(error) is kind
    assert str(error) == "all of it"
    assert error.problems == tuple(problems)


def test_what_the_first_one_tells_besides_its_text_is_kept():
    corrupt = FileCorrupt("x")
    corrupt.path, corrupt.expected = "/x", "b3t1m:00"
    error = combined("both", [corrupt, FileCorrupt("y")])
    assert isinstance(error, FileCorrupt)
    assert (error.path, error.expected) == ("/x", "b3t1m:00")
    assert vars(combined("both", [corrupt, SpaceMissing("y")])).keys() == {"problems"}


@pytest.mark.parametrize("number", [errno.ETIMEDOUT, errno.EIO])
def test_a_place_that_gives_no_answer_is_a_timeout(number):
    raised = OSError(number, "no use", "/x/.0af4.tmp")
    with pytest.raises(PoolUnreachable) as caught, durable.typed_failures("/x"):
        raise raised
    for error in (caught.value, unreachable("/x", raised)):
        assert isinstance(error, TimeoutError) == (number == errno.ETIMEDOUT)
        assert str(error).startswith("/x can't be ") and "no use" in str(error)
        assert "Errno" not in str(error) and ".tmp" not in str(error)
