"""Long operations on a user's screen: a bar on a terminal, else lines."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

from avocado_pool_plugin.core import progress
from avocado_pool_plugin.plugins.text import is_terminal

#: Seconds for which an operation may go on before it is shown.
SHOWN_AFTER = 1.0
#: Columns that the numbers on the right may take, with some for the bar.
_NUMBERS = 50


class Bar:
    """
    A bar on the terminal for one operation; call it with each further number of bytes.

    :param task: the operation
    """

    def __init__(self, task: progress.Task) -> None:
        self.what = f"{task.doing} {os.path.basename(task.path)}"
        self.count = progress.Count(task)
        self.drawn: Any = None

    def __call__(self, done: int) -> None:
        """Count bytes; show that if it takes long."""
        self.count.done += done
        if self.drawn is not None:
            self.drawn.update(self.drawn.task_ids[0], **self._fields())
        elif self.count.seconds >= SHOWN_AFTER:
            # known before it is seen: Ctrl-C may come at once
            self.drawn = _drawing(self.what, **self._fields())
            self.drawn.start()

    def _fields(self) -> dict[str, Any]:
        count = self.count
        return {"completed": count.done, "total": count.total, "told": str(count)}

    def end(self) -> None:
        """Take the bar off the terminal, which is as before then."""
        if self.drawn is not None:
            self.drawn.stop()


def _drawing(what: str, **fields: Any) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    console = Console(file=sys.stderr)
    # where there is little room, the numbers matter most
    name = Column(no_wrap=True, overflow="ellipsis", max_width=max(console.width - _NUMBERS, 12))
    drawing = Progress(
        TextColumn("{task.description}", markup=False, table_column=name),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[told]}", markup=False),
        console=console,
        transient=True,
        expand=True,
    )
    drawing.add_task(what, **fields)
    return drawing


@contextlib.contextmanager
def bar(task: progress.Task) -> Iterator[Bar]:
    """Report one operation by a bar."""
    shown = Bar(task)
    try:
        yield shown
    finally:
        shown.end()


def reporter(log: logging.Logger | None) -> progress.Reporter:
    """
    Return who tells a user of long operations.

    :param log: where lines go if there is no terminal, None: not to the user
    """
    if is_terminal(sys.stderr):
        return bar
    return progress.lines(log) if log else progress.lines()
