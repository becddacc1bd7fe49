"""What hypothesis chooses from."""

from dataclasses import replace

from hypothesis import strategies as st

from tests.torture.model.crowd import Kill
from tests.torture.model.work import GC, GET, SET, UNSET, Op
from tests.torture.model.world import NAMES, PLACES, VMS, WORKERS, every_image

#: Write-side calls in which a kill may fall, and seconds; an operation has about so many.
_CALLS, _SECONDS = 120, 0.25

workers = st.integers(0, len(WORKERS) - 1)
images = st.sampled_from(every_image())
names = st.sampled_from(NAMES)
rarely = st.sampled_from([False] * 5 + [True])
delays = st.sampled_from([0.0, 0.0, 0.004, 0.015, 0.03, 0.06])
verbs = st.sampled_from([GET] * 4 + [SET] * 5 + [UNSET] * 2)
of_workers = st.builds(
    Op, verb=verbs, worker=workers, vm=st.sampled_from(list(VMS)), state=names,
    own=rarely, cascade=rarely, delay=delays,
)  # fmt: skip
collections = st.builds(
    Op, verb=st.just(GC), place=st.sampled_from(PLACES),
    stays=st.sampled_from([0.0, 0.4, 0.8]), delay=delays,
)  # fmt: skip
anything = st.builds(
    lambda dice, op, gc: op if dice else gc, st.integers(0, 5), of_workers, collections
)
kills = st.one_of(
    st.builds(Kill, at=st.integers(1, _CALLS)),
    st.builds(Kill, after=st.floats(0.001, _SECONDS)),
)


def _of_each(first: int, ops: list[Op]) -> list[Op]:
    """Return operations of different workers: each works on one thing at a time."""
    return [replace(op, worker=(first + n) % len(WORKERS)) for n, op in enumerate(ops)]


# nothing is filtered: that would end a life early
_several = st.builds(_of_each, workers, st.lists(of_workers, min_size=2, max_size=len(WORKERS)))
_some = st.builds(_of_each, workers, st.lists(of_workers, min_size=1, max_size=2))
crowds = st.builds(
    lambda dice, several, some, gc: several if dice else [*some, gc],
    st.integers(0, 3), _several, _some, collections,
)  # fmt: skip
