"""A task whose workers fall asleep at each clip, and leave word when they are stopped in an orderly way."""

import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from shardpipe.core.work import Outcome, Phase, UnitJob, WorkerNeeds
from shardpipe.engine.worker import UnitWorker, Watch, Worker
from shardpipe.storage.store import Store


@dataclass(frozen=True)
class SleepingTask:
    """folder: where a worker leaves `asleep` (its process is in there) and `cleared`. is_deaf: it hears no signal, as in C code."""

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
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        self.watch.begin(job.name, "sleep", ["key"], self._task.timeout_s)
        try:
            (Path(self._task.folder) / "asleep").touch()
            time.sleep(100)
        finally:
            (Path(self._task.folder) / "cleared").touch()
            self.watch.end(1)
        return Outcome(job.name)
