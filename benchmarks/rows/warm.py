"""A get and a comparison where nothing changed."""

from collections.abc import Iterator

from benchmarks.lab import CHAIN
from benchmarks.measure import Contender, alternate
from benchmarks.rows.bench import Bench
from benchmarks.table import Row, alone, versus


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rows."""
    from avocado_pool_plugin.states import pool, setup

    lab = bench.chain(bench.ext4)
    theirs = lab.copy_for_peer("peer")
    state = CHAIN[-1][0]
    params = lab.params(get_state_images=state)
    found = alternate(
        {
            "ours": Contender(lambda: setup.get_states(params)),
            "avocado-i2n": Contender(lambda: bench.peer.ask("get", **theirs)),
        },
        bench.runs,
    )
    aim = "<= 0.2 x avocado-i2n, 1 process, no content"
    yield versus("get, nothing changed", aim, found, 0.2, short="get, nothing changed")
    # without the cache's own scope no overlay is made: what is left is the comparison of both sides
    alike = lab.params(get_state_images=state, pool_scope="shared")
    found = alternate({"ours": Contender(lambda: setup.get_states(alike))}, bench.runs)
    yield alone("the transport part of it", "<= 10 ms", found["ours"])
    one = lab.params(object_id="vm1", object_type="vms/images")
    transport = pool.QCOW2ImageTransfer

    def compare() -> None:
        assert transport.compare_chain(state, str(lab.cache), f":{lab.pool}", one)

    found = alternate(
        {
            "ours": Contender(compare),
            "avocado-i2n": Contender(lambda: bench.peer.ask("compare", **theirs)),
        },
        bench.runs,
    )
    work, aim = "compare_chain, equal, unchanged", "<= 5 ms, no content"
    yield versus(work, aim, found, 0.2, short="compare, nothing changed")
