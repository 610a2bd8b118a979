"""A task whose workers fall asleep in a request of each clip, and leave word when it is aborted."""

import asyncio
import signal
from dataclasses import dataclass, field
from pathlib import Path

from fsspec.asyn import get_loop

from shardpipe.core.work import Outcome, Phase, UnitJob, WorkerNeeds
from shardpipe.engine.worker import UnitWorker, Watch, Worker
from shardpipe.storage.inflight import IN_FLIGHT
from shardpipe.storage.store import Store

ABORT_S = 0.2


@dataclass(frozen=True)
class SleepingTask:
    """folder: where a worker leaves `asleep` and `cleared`. is_deaf: it hears no signal at all; else it does in C code too."""

    folder: str
    is_deaf: bool = False
    timeout_s: float = 1000.0
    name: str = "score"
    phase: Phase = "rows"
    needs: WorkerNeeds = field(default_factory=WorkerNeeds)

    def make(self, store: Store, device: str, watch: Watch) -> Worker:
        return _Sleeper(watch, self)


class _Sleeper(UnitWorker):
    def __init__(self, watch: Watch, task: SleepingTask) -> None:
        super().__init__(watch)
        self._task = task

    def do(self, job: UnitJob) -> Outcome:
        if job.poisoned:
            return Outcome(job.name, num_seen=1, num_failed=1)
        if self._task.is_deaf:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # no handler runs in this thread, as in C code
        self.watch.begin(job.name, "sleep", ["key"], self._task.timeout_s)
        IN_FLIGHT.run(self._sleep(), get_loop())
        self.watch.end(1)
        return Outcome(job.name)

    async def _sleep(self) -> None:
        try:
            (Path(self._task.folder) / "asleep").touch()
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(ABORT_S)
            (Path(self._task.folder) / "cleared").touch()
