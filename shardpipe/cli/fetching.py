"""Weights being pulled, as it goes, on stderr: a bar a file on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from shardpipe.cli.output import num_bytes
from shardpipe.core.errors import ConfigError
from shardpipe.core.weights import Weights
from shardpipe.models.places import Report
from shardpipe.models.weights import pull

LINE_EVERY_S = 5.0


def pull_all(wanted: Sequence[Weights]) -> dict[Weights, str]:
    """Pull each that is not a local path; those that could not be had, with the reason. Told on stderr."""
    failed = {}
    for each in wanted:
        try:
            with _told(each.url) as report:
                pull(each, report)
        except (ConfigError, OSError) as error:
            failed[each] = str(error)
            print(f"{each.url}: not pulled: {error}", file=sys.stderr)  # noqa: T201  progress goes to stderr
    return failed


@contextmanager
def _told(url: str) -> Iterator[Report]:
    with _bar(url) if sys.stderr.isatty() else _lines(url) as report:
        yield report


@contextmanager
def _bar(url: str) -> Iterator[Report]:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(30), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(url, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def _lines(url: str) -> Iterator[Report]:
    told_s, most = time.monotonic(), 0

    def report(done: int, total: int | None) -> None:
        nonlocal told_s, most
        most = max(most, done)
        if time.monotonic() - told_s >= LINE_EVERY_S:
            told_s = time.monotonic()
            of = "" if total is None else f" of {num_bytes(total)}"
            print(f"{url}: {num_bytes(done)}{of}", file=sys.stderr, flush=True)  # noqa: T201

    yield report
    if most:
        print(f"{url}: pulled, {num_bytes(most)}", file=sys.stderr, flush=True)  # noqa: T201
