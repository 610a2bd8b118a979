"""The executor for one machine: spawned worker processes, one a device, that are replaced when they die.

A worker says what it is at (`Watch.begin`, `Watch.sent`), so a crash or a hang is blamed on the clips that it was at: they
are run one by one in the next try (those that an AsyncStage had, after a second death), and a clip that was there at `tries`
deaths, the last time alone, is committed as an error. (One death proves nothing: workers are also killed from outside.)
Units go largest first, two to a worker at a time so that it never waits; one more each time that it asks, where an AsyncStage
takes more clips than two units have. A worker whose engine is gone is replaced, and its units are none the worse for it; where
that helps nobody, the run ends.

A worker that is to end before its units do gets SIGTERM, upon which it aborts its uploads and ends, whatever it is at; SIGKILL
only where it is still there ABORT_S later. A second Ctrl-C waits for none.
"""

import logging
import multiprocessing
import os
import signal
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from shardpipe.core.errors import UnitError
from shardpipe.core.work import Outcome, Progress, UnitJob
from shardpipe.engine.worker import Task
from shardpipe.executors.interrupts import interrupts_held
from shardpipe.executors.workerside import ABORT_S, SHELL_SIGNALS, worker_main
from shardpipe.storage.scratch import ScratchSettings
from shardpipe.storage.store import open_store

log = logging.getLogger(__name__)
TWICE = 2
AHEAD = 2  # units that a worker has at a time
STOP_S = 10.0  # how long a worker may take to end after the last unit
TICK_S = 1.0


@dataclass(frozen=True)
class LocalSettings:
    """How many workers, on which devices (one each, in turn), and how often a unit is tried."""

    num_workers: int
    devices: tuple[str, ...] = ("cpu",)
    tries: int = 3
    scratch: ScratchSettings = field(default_factory=ScratchSettings)


@dataclass
class _Held:
    """One worker process, as the executor sees it."""

    process: multiprocessing.process.BaseProcess
    conn: Connection
    device: str
    jobs: dict[str, UnitJob] = field(default_factory=dict)
    at: tuple[str, str, list[str]] | None = None  # unit, what, keys
    sent: dict[tuple[str, str], str] = field(default_factory=dict)  # unit, key: what
    extra: int = 0  # units beyond AHEAD that it asked for
    deadline: float | None = None
    killed: str | None = None  # why it is being ended
    kill_at: float = 0.0  # when no longer by SIGTERM
    gone: str | None = None  # why its engine is
    closed: bool = False
    started: bool = False


class LocalExecutor:
    """Runs the units of one task over local processes."""

    def __init__(self, root: str, settings: LocalSettings) -> None:
        self._root = root
        self._settings = settings
        self._queue: deque[UnitJob] = deque()
        self._tries: dict[str, int] = {}
        self._deaths: Counter[tuple[str, str]] = Counter()  # at a clip of a unit
        self._workers: list[_Held] = []
        self._deaths_at_start = 0  # in a row
        self._engines_gone = 0  # in a row

    def run(self, task: Task, jobs: Sequence[UnitJob], progress: Progress) -> Generator[Outcome, None, None]:
        """Do all jobs; give an Outcome for each as it ends. Closing the iterator ends the workers."""
        self._queue = deque(sorted(jobs, key=lambda job: (-job.cost, job.name)))
        self._tries, self._workers, self._deaths_at_start, self._engines_gone = {}, [], 0, 0
        self._deaths.clear()
        left = len(jobs)
        try:
            for i in range(min(self._settings.num_workers, left)):
                self._workers.append(self._spawn(task, self._settings.devices[i % len(self._settings.devices)]))
            while left:
                self._hand_out()
                for outcome in self._collect(task, progress):
                    left -= 1
                    yield outcome
        finally:
            self._stop(graceful=left == 0)

    def _spawn(self, task: Task, device: str) -> _Held:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=True)
        args = (theirs, self._root, self._settings.scratch, task, device, os.getpid())
        process = context.Process(target=worker_main, args=args, name="shardpipe-worker")
        with interrupts_held():
            process.start()
        theirs.close()
        return _Held(process, ours, device)

    def _hand_out(self) -> None:
        for rank in range(AHEAD + max((worker.extra for worker in self._workers), default=0)):
            for worker in self._workers:
                may_have = rank < AHEAD + worker.extra
                if may_have and len(worker.jobs) <= rank and self._queue and not worker.closed:
                    job = self._queue.popleft()
                    worker.jobs[job.name] = job
                    _send(worker, ("job", job))
        if not self._queue:
            for worker in self._workers:
                if not worker.jobs and not worker.closed and self._others_busy(worker) is False:
                    worker.closed = True
                    _send(worker, ("end",))

    def _others_busy(self, worker: _Held) -> bool:
        """Whether another worker still has units, which could come back to the queue if it dies."""
        return any(other.jobs for other in self._workers if other is not worker)

    def _collect(self, task: Task, progress: Progress) -> Iterator[Outcome]:
        by_object: dict[Any, _Held] = {}
        for worker in self._workers:
            by_object[worker.conn] = by_object[worker.process.sentinel] = worker
        ready = {id(by_object[each]): by_object[each] for each in wait(list(by_object), timeout=TICK_S)}
        for worker in ready.values():
            yield from self._read(worker, progress)
            if not worker.process.is_alive():
                yield from self._read(worker, progress)
                yield from self._bury(worker, task, progress)
        now = time.monotonic()
        for worker in self._workers:
            if worker.killed is not None and now > worker.kill_at:
                worker.process.kill()
            elif worker.killed is None and worker.deadline is not None and now > worker.deadline:
                _end(worker, "took longer than its time-out")

    def _read(self, worker: _Held, progress: Progress) -> Iterator[Outcome]:
        while _has_message(worker.conn):
            try:
                message = worker.conn.recv()
            except (EOFError, OSError):
                return
            if message[0] != "done":
                self._hear(worker, message, progress)
                continue
            outcome: Outcome = message[1]
            job = worker.jobs.pop(outcome.unit)
            worker.extra = max(0, worker.extra - 1)
            if outcome.engine_gone and worker.gone is None:
                worker.gone = outcome.error
                _end(worker, "has lost what answers its clips")
            elif outcome.error is None:
                self._engines_gone = 0
            if outcome.error is not None and self._may_retry(job):
                progress.note(f"unit {job.name} failed, tried again: {outcome.error}")
                self._queue.append(job)
            else:
                yield outcome

    def _hear(self, worker: _Held, message: tuple[Any, ...], progress: Progress) -> None:
        """What a worker says of itself."""
        match message:
            case ("begin", unit, what, keys, timeout_s):
                worker.at, worker.deadline = (unit, what, keys), time.monotonic() + timeout_s
            case ("end", num_clips):
                worker.at = worker.deadline = None
                progress.clips(num_clips)
            case ("sent", unit, what, key):
                worker.sent[unit, key] = what
            case ("answered", unit, key):
                worker.sent.pop((unit, key), None)
                progress.clips(1)
            case ("more",):
                worker.extra += 1
            case ("fatal", why):
                raise UnitError(f"no worker can be set up on {worker.device}: {why}")
            case ("note", text):
                progress.note(text)
            case ("started",):
                worker.started, self._deaths_at_start = True, 0

    def _may_retry(self, job: UnitJob) -> bool:
        self._tries[job.name] = self._tries.get(job.name, 0) + 1
        return self._tries[job.name] < self._settings.tries

    def _bury(self, worker: _Held, task: Task, progress: Progress) -> Iterator[Outcome]:
        """A worker is dead: find out what it was at, put its units back, replace it."""
        worker.process.join()
        self._workers.remove(worker)
        worker.conn.close()
        reason = worker.killed or _death(worker.process.exitcode)
        if not worker.started:
            self._deaths_at_start += 1
            if self._deaths_at_start >= self._settings.tries:
                raise UnitError(f"workers of {task.name} end while they are set up ({reason}): see the log above")
        if worker.gone is not None:
            self._end_without_engine(worker, task)
        for job in reversed(list(worker.jobs.values())):  # the first one is to be the first again
            blamed = self._blame(job, worker, reason)
            if blamed is not None:
                self._queue.appendleft(blamed)
            elif not _was_at(worker) and worker.started and not worker.gone and not self._may_retry(job):
                yield Outcome(job.name, error=f"the worker {reason}, {self._settings.tries} times")
            else:
                self._queue.appendleft(job)
        if worker.jobs:
            what = _was_at(worker)
            progress.note(f"a worker of {task.name} {reason}{what}: replaced")
        if self._queue:
            self._workers.append(self._spawn(task, worker.device))

    def _end_without_engine(self, worker: _Held, task: Task) -> None:
        """No clip is to blame; but where each worker in turn loses its engine, with no unit done between, no other one helps."""
        worker.at = None
        worker.sent.clear()
        self._engines_gone += 1
        if self._engines_gone >= self._settings.tries * self._settings.num_workers:
            raise UnitError(f"{task.name}: {worker.gone}")

    def _blame(self, job: UnitJob, worker: _Held, reason: str) -> UnitJob | None:
        """The job as it is to be tried again: the clips that were worked on are suspects; a lone one, in the end, the culprit."""
        blamed = {key: what for (unit, key), what in worker.sent.items() if unit == job.name}
        if worker.at is not None and worker.at[0] == job.name:
            blamed |= dict.fromkeys(worker.at[2], worker.at[1])
        if not blamed:
            return None
        self._deaths.update((job.name, key) for key in blamed)
        (key, what), *others = blamed.items()
        was_alone = not others and (key in job.suspects or len(worker.sent) <= 1)  # of all units that the worker had
        if was_alone and self._deaths[job.name, key] >= self._settings.tries:
            return replace(job, poisoned={**job.poisoned, key: f"{what}: the worker {reason} on this clip"})
        # an AsyncStage has hundreds: asked one by one they would keep it all but idle, so it takes a second death of a clip
        at_work = {key for key in blamed if (job.name, key) not in worker.sent}
        twice = {key for key in blamed if self._deaths[job.name, key] >= min(TWICE, self._settings.tries)}
        return replace(job, suspects=job.suspects | at_work | twice)

    def _stop(self, *, graceful: bool) -> None:
        until = time.monotonic() + (STOP_S if graceful else ABORT_S)
        try:
            for worker in self._workers:
                if not graceful:
                    worker.process.terminate()
                elif not worker.closed:
                    _send(worker, ("end",))
            for worker in self._workers:
                worker.process.join(timeout=max(0.0, until - time.monotonic()))
        finally:
            for worker in self._workers:
                worker.process.kill()
            for worker in self._workers:
                worker.process.join()
                worker.conn.close()
            self._workers = []
            # removes what killed workers left in its scratch folders
            open_store(self._root, scratch=self._settings.scratch)


def _end(worker: _Held, why: str) -> None:
    """Have it end, and be replaced."""
    worker.killed, worker.kill_at = why, time.monotonic() + ABORT_S
    worker.process.terminate()


def _death(code: int | None) -> str:
    number = -code if code is not None and code < 0 else (code or 0) - SHELL_SIGNALS
    return f"died of {signal.Signals(number).name}" if number in set(signal.Signals) else f"ended (exit {code})"


def _was_at(worker: _Held) -> str:
    """What a worker was at, for a message; empty if it was at nothing."""
    at = ""
    if worker.at is not None:
        unit, what, keys = worker.at
        at = f" at {what} of {keys[0] if len(keys) == 1 else f'{len(keys)} clips'} in unit {unit}"
    if worker.sent:
        at += f"{', and' if at else ''} with {len(worker.sent)} clips at {', '.join(sorted(set(worker.sent.values())))}"
    return at


def _has_message(conn: Connection) -> bool:
    try:
        return conn.poll(0)
    except (OSError, EOFError):
        return False


def _send(worker: _Held, message: tuple[Any, ...]) -> None:
    try:
        worker.conn.send(message)
    except OSError:
        log.debug("a worker died before it got its message; it is replaced when its end is seen")
