"""Pins for a whole run: what its tests count on stays where it is until they are over."""

import contextlib
from collections.abc import Iterator

from avocado_pool_plugin.graph.suite import Prepared
from avocado_pool_plugin.states import pinning


@contextlib.contextmanager
def pinned(prepared: Prepared, by: str) -> Iterator[None]:
    """
    Keep the states that a suite's tests get or set from being removed to make room.

    They are pinned by name, with all that those stand on which were found, in the cache and in each
    pool that was looked into: also what is not there yet is pinned as soon as it is.

    :param by: who runs it
    """
    nodes = [prepared.graph.nodes[step.test] for step in prepared.plan.steps]
    states = {want.state for node in nodes for want in node.gets}
    states.update(made.state for node in nodes for made in node.sets)
    finder = prepared.finder
    files = {file for state in states for file in finder.files(state)}
    with contextlib.ExitStack() as stack:
        for root, own in finder.roots.items() if files else ():
            stack.enter_context(pinning.pinned(root, files, own, by=by))
        yield
