"""A task whose workers do one unit each and die at the next; some die while they are set up."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from shardpipe.core.work import Outcome, Phase, UnitJob, WorkerNeeds
from shardpipe.engine.worker import UnitWorker, Watch, Worker
from shardpipe.storage.store import Store


@dataclass(frozen=True)
class DyingTask:
    """folder: a file in it for each worker that was started. at_setup: the numbers of those that die at once."""

    folder: str
    at_setup: tuple[int, ...]
    name: str = "score"
    phase: Phase = "rows"
    needs: WorkerNeeds = field(default_factory=WorkerNeeds)

    def make(self, store: Store, device: str, watch: Watch) -> Worker:
        number = len(list(Path(self.folder).iterdir()))
        (Path(self.folder) / str(number)).touch()
        if number in self.at_setup:
            os._exit(3)
        return _OneUnit(watch)


class _OneUnit(UnitWorker):
    done = False

    def do(self, job: UnitJob) -> Outcome:
        if self.done:
            os._exit(4)
        self.done = True
        return Outcome(job.name, num_seen=1)
