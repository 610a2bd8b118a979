"""What an executor runs: a task is sent to where the work is done, and makes a worker there; a worker does units.

executor                            process of the worker
task (picklable) ─────────────────▶ task.make(store, device, watch) ─▶ Worker
UnitJob, UnitJob, ... ────────────▶ worker.run(jobs)
                  ◀──────────────── Watch.begin / end (what is being worked on: who is to blame for a crash)
                  ◀──────────────── Outcome, Outcome, ...
"""

import logging
import shutil
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from shardpipe.core.errors import ShardpipeError, told
from shardpipe.core.work import Outcome, Phase, UnitJob, WorkerNeeds
from shardpipe.storage.scratch import FULL, full
from shardpipe.storage.store import Store

log = logging.getLogger(__name__)


class Watch(Protocol):
    """Who is told what a worker is at, so that a crash or a hang costs only the clips that it was at."""

    def begin(self, unit: str, what: str, keys: Sequence[str], timeout_s: float) -> None:
        """Work on these clips (or video) of a unit begins; it may take so long."""

    def end(self, num_clips: int) -> None:
        """It is over; `num_clips` more clips were worked on."""

    def sent(self, unit: str, what: str, key: str) -> None:
        """An AsyncStage has a clip from now on, whatever else begins and ends meanwhile."""

    def answered(self, unit: str, key: str) -> None:
        """It has it no more: one more clip was worked on."""

    def note(self, text: str) -> None:
        """A line for the run's log."""


class Jobs(Protocol):
    """Where a worker gets its units."""

    def get(self, *, wait: bool, beyond: bool = False) -> UnitJob | None:
        """The next unit; None if there is none now (`wait` False), or none any more (`wait` True).

        beyond: the worker has as many as workers have by default, and asks for one more.
        """


class Worker(Protocol):
    """Does units, one after the other or overlapped."""

    def run(self, jobs: Jobs) -> Iterator[Outcome]:
        """Do units until there are no more, and give an Outcome for each. A unit that fails is an Outcome with error."""

    def close(self) -> None:
        """End threads and processes."""


class Task(Protocol):
    """What is to be done with each unit of one phase of one pass; picklable."""

    @property
    def name(self) -> str:
        """The Dataset it makes."""

    @property
    def phase(self) -> Phase:
        """The phase."""

    @property
    def needs(self) -> WorkerNeeds:
        """What its workers need."""

    def make(self, store: Store, device: str, watch: Watch) -> Worker:
        """Set up a worker on `device`: a torch device string, or several with commas between."""


class UnitWorker(ABC):
    """A Worker that does one unit at a time; subclasses give `do`."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    @abstractmethod
    def do(self, job: UnitJob) -> Outcome:
        """Do one unit; what it raises becomes the Outcome's error."""

    def run(self, jobs: Jobs) -> Iterator[Outcome]:
        """As the protocol says."""
        while (job := jobs.get(wait=True)) is not None:
            try:
                yield self.do(job)
            except Exception as exc:  # noqa: BLE001  one unit's failure must not end the others
                yield failed(job, exc)

    def close(self) -> None:  # noqa: B027  most hold nothing
        """Nothing is held."""


def failed(job: UnitJob, exc: Exception) -> Outcome:
    """The Outcome of a unit that raised; an error that is none of ours is logged with its traceback."""
    if not isinstance(exc, ShardpipeError | OSError):
        log.error("unit %s failed", job.name, exc_info=exc)
        return Outcome(job.name, error=told(f"{type(exc).__name__}: {exc}"))
    return Outcome(job.name, error=told(str(exc)))


class JobList:
    """Jobs that are all known from the start, for a worker in the caller's own process."""

    def __init__(self, jobs: Iterable[UnitJob]) -> None:
        self._jobs = deque(jobs)

    def get(self, *, wait: bool, beyond: bool = False) -> UnitJob | None:  # noqa: ARG002  nothing to wait for
        """As the protocol says."""
        return self._jobs.popleft() if self._jobs else None


class NoWatch:
    """A Watch that nobody looks at: in the caller's own process, a crash is the caller's."""

    def begin(self, unit: str, what: str, keys: Sequence[str], timeout_s: float) -> None:
        """Ignored."""

    def end(self, num_clips: int) -> None:
        """Ignored."""

    def sent(self, unit: str, what: str, key: str) -> None:
        """Ignored."""

    def answered(self, unit: str, key: str) -> None:
        """Ignored."""

    def note(self, text: str) -> None:
        """Ignored."""


@contextmanager
def scratch_folder(store: Store, num_bytes: int = 0, *, is_guess: bool = False) -> Iterator[Path]:
    """A new folder to build files of so many bytes in, removed at the end whatever happens; StoreError where the disk is full.

    is_guess: as `Store.scratch` says; `grow` takes more.
    """
    folder = store.scratch(num_bytes, is_guess=is_guess)
    try:
        yield folder
    except OSError as error:
        if error.errno in FULL:
            raise full(folder.parent.parent, error) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
