"""A run as it goes, on stderr: a live display on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from shardpipe.cli.log import log_above
from shardpipe.cli.meter import Meter
from shardpipe.cli.output import clock, num_bytes
from shardpipe.core.work import Outcome, Phase
from shardpipe.core.work import Progress as Listener
from shardpipe.models.places import Report

LINE_EVERY_S = 5.0


def describe(meter: Meter, now_s: float) -> str:
    """`3/12 units, 41.2 clips/s, 63% kept, 2 failed, 0:41 left`."""
    parts = [meter.units_text]
    if meter.phase != "emit" and meter.clips_per_s(now_s) > 0:
        parts.append(f"{meter.clips_per_s(now_s):.1f} clips/s")
    if meter.keep_rate is not None and meter.phase != "emit":
        parts.append(f"{100 * meter.keep_rate:.0f}% kept")
    if meter.num_failed:
        parts.append(f"{meter.num_failed} clips failed")
    if meter.failed_units:
        parts.append(f"{len(meter.failed_units)} units failed")
    eta_s = meter.eta_s(now_s)
    if eta_s:
        parts.append(f"{clock(eta_s)} left")
    return ", ".join(parts)


class Lines:
    """Progress as plain lines: when a phase begins and ends, and every few seconds between."""

    def __init__(self) -> None:
        self._meter: Meter | None = None
        self._told_s = 0.0

    def phase(self, name: str, phase: Phase, *, num_units: int, num_done: int) -> None:
        """Tell how the phase before ended, and what begins."""
        self.finish()
        now_s = time.monotonic()
        self._meter = Meter(name, phase, num_units, num_done, now_s)
        self._told_s = now_s
        self._tell(
            f"{self._meter.title}: {self._meter.units_text} done before"
            if num_done
            else f"{self._meter.title}: {num_units} to do"
        )

    def unit(self, outcome: Outcome) -> None:
        """Count it; tell, if the last line is some seconds old."""
        if self._meter is None:
            return
        self._meter.unit(outcome)
        if outcome.error is not None:
            self._tell(f"{self._meter.title}: unit {outcome.unit} failed: {outcome.error}")
        self._tell_now_and_then()

    def clips(self, count: int) -> None:
        """Count them; tell, if the last line is some seconds old."""
        if self._meter is not None:
            self._meter.clips(count)
            self._tell_now_and_then()

    def note(self, text: str) -> None:
        """Tell it."""
        self._tell(text)

    def finish(self) -> None:
        """Tell how the last phase ended."""
        if self._meter is not None:
            now_s = time.monotonic()
            took = clock(now_s - self._meter.started_s)
            self._tell(f"{self._meter.title}: {describe(self._meter, now_s)}, took {took}")
            self._meter = None

    def _tell_now_and_then(self) -> None:
        now_s = time.monotonic()
        if self._meter is not None and now_s - self._told_s >= LINE_EVERY_S:
            self._told_s = now_s
            self._tell(f"{self._meter.title}: {describe(self._meter, now_s)}")

    @staticmethod
    def _tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201  progress goes to stderr


class Live:
    """Progress as bars that move, one a phase; notes scroll above them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:<16}"), BarColumn(30), TextColumn("{task.fields[state]}"), console=console
        )
        self._meter: Meter | None = None
        self._task: TaskID | None = None

    def start(self) -> None:
        """Take the terminal."""
        self._bars.start()

    def stop(self) -> None:
        """Leave the terminal, the last state of the bars on it."""
        self._show()
        self._bars.stop()

    def phase(self, name: str, phase: Phase, *, num_units: int, num_done: int) -> None:
        """A new bar."""
        self._show()
        self._meter = Meter(name, phase, num_units, num_done, time.monotonic())
        self._task = self._bars.add_task(self._meter.title, total=max(1, num_units), completed=num_done, state="")
        self._show()

    def unit(self, outcome: Outcome) -> None:
        """Move the bar."""
        if self._meter is not None:
            self._meter.unit(outcome)
            if outcome.error is not None:
                self.note(f"{self._meter.title}: unit {outcome.unit} failed: {outcome.error}")
            self._show()

    def clips(self, count: int) -> None:
        """Count them."""
        if self._meter is not None:
            self._meter.clips(count)
            self._show()

    def note(self, text: str) -> None:
        """Print it above the bars."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _show(self) -> None:
        if self._meter is not None and self._task is not None:
            meter, now_s = self._meter, time.monotonic()
            whole = meter.num_before + meter.num_done if meter.num_units else 1
            self._bars.update(self._task, completed=whole, state=describe(meter, now_s))


@contextmanager
def showing_progress() -> Iterator[Listener]:
    """A Progress for the body: live where stdout and stderr are terminals, plain lines elsewhere."""
    if not (sys.stderr.isatty() and sys.stdout.isatty()):
        lines = Lines()
        try:
            yield lines
        finally:
            lines.finish()
        return
    console = Console(stderr=True)
    live = Live(console)
    live.start()
    log_above(console)
    try:
        yield live
    finally:
        log_above(None)
        live.stop()


@contextmanager
def showing_bytes(what: str, done: str) -> Iterator[Report]:
    """A Report for the body: a bar on a terminal, plain lines elsewhere. done: what has become of `what` at the end."""
    with _bar(what) if sys.stderr.isatty() else _lines(what, done) as report:
        yield report


@contextmanager
def _bar(what: str) -> Iterator[Report]:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(30), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def _lines(what: str, ended: str) -> Iterator[Report]:
    told_s, most = time.monotonic(), 0

    def report(done: int, total: int | None) -> None:
        nonlocal told_s, most
        most = max(most, done)
        if time.monotonic() - told_s >= LINE_EVERY_S:
            told_s = time.monotonic()
            of = "" if total is None else f" of {num_bytes(total)}"
            print(f"{what}: {num_bytes(done)}{of}", file=sys.stderr, flush=True)  # noqa: T201

    yield report
    if most:
        print(f"{what}: {ended}, {num_bytes(most)}", file=sys.stderr, flush=True)  # noqa: T201
