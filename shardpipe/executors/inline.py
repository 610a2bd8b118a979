"""The executor for debugging and tests: units one after the other in the caller's own process, where breakpoints work."""

from collections.abc import Generator, Sequence

from shardpipe.core.work import Outcome, Progress, UnitJob
from shardpipe.engine.worker import JobList, NoWatch, Task
from shardpipe.storage.store import Store


class InlineExecutor:
    """One worker, here. A stage that crashes or hangs takes the run with it."""

    def __init__(self, store: Store, device: str = "cpu") -> None:
        self._store = store
        self._device = device

    def run(self, task: Task, jobs: Sequence[UnitJob], progress: Progress) -> Generator[Outcome, None, None]:  # noqa: ARG002
        """Do all jobs in order; give an Outcome for each."""
        if not jobs:
            return
        worker = task.make(self._store, self._device, NoWatch())
        try:
            yield from worker.run(JobList(jobs))
        finally:
            worker.close()
