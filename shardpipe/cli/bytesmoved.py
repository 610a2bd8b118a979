"""How far a command is that reads or moves many bytes, on stderr: a bar on a terminal, a line now and then elsewhere."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from shardpipe.cli.output import num_bytes, share
from shardpipe.cli.progress import LINE_EVERY_S

Tell = Callable[[int, int], None]
"""Called with the bytes done so far, and those that there are in all, from any thread."""


@contextmanager
def showing_bytes(title: str) -> Iterator[Tell]:
    """What the body is to call; `title` says what is done."""
    if sys.stderr.isatty() and sys.stdout.isatty():
        columns = (BarColumn(30), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(TextColumn(title), *columns, console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task(title, total=None)
            yield lambda done, total: bars.update(task, completed=done, total=total)
        return
    told_s = time.monotonic()
    mutex = threading.Lock()

    def tell(done: int, total: int) -> None:
        nonlocal told_s
        with mutex:
            if time.monotonic() - told_s < LINE_EVERY_S:
                return
            told_s = time.monotonic()
        line = f"{title}: {num_bytes(done)} of {num_bytes(total)}, {share(done, total)}"
        print(line, file=sys.stderr, flush=True)  # noqa: T201  progress goes to stderr

    yield tell
