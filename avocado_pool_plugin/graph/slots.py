"""Places for tests that run at the same time, so that no two of them share a working image."""

import os
from typing import Any

from avocado_pool_plugin.graph.read import place_in_slot
from avocado_pool_plugin.graph.resolve import VT_KIND


class Slots:
    """
    Directories of the tests of one run.

    :param directory: where the slots' directories are; best on the file system of the cache
    :param count: how many tests run at once; with one, images stay where they always are
    """

    def __init__(self, directory: str, count: int) -> None:
        self.directory = directory
        self.count = count

    def place(self, runnable: Any, slot: int) -> None:
        """Let the working images of a test that is about to start be those of a slot."""
        if self.count > 1 and runnable.kind == VT_KIND:
            place_in_slot(runnable.kwargs, os.path.join(self.directory, str(slot)))
