"""The worker of the emit phase: it reads and builds a shard while the one before it is put.

    thread build-shard    read, build 000000 │ read, build 000001 │ read, build 000002
    the worker                               │ put 000000         │ put 000001         │ put 000002

At most two shards are on scratch. Puts stay in the worker's own thread, where Ctrl-C ends and aborts them.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

from shardpipe.core.work import Outcome, UnitJob
from shardpipe.engine.counts import outcome_of
from shardpipe.engine.emit import Built, Emitter
from shardpipe.engine.worker import Jobs, failed
from shardpipe.storage.metered import Meter, MeteredStore
from shardpipe.storage.rows import RowsMeta
from shardpipe.storage.store import Store

STOP_S = 5.0
"""So long the end of a worker waits for the shard that is being built."""


class EmitWorker:
    """Writes the shards of one Dataset, in the order of their jobs."""

    def __init__(self, store: Store, name: str) -> None:
        metered = MeteredStore(store)
        self._meter = Meter(metered)
        self._emitter = Emitter(metered, name)
        self._builder = ThreadPoolExecutor(1, thread_name_prefix="build-shard")
        self._begun: tuple[UnitJob, Future[Built | RowsMeta]] | None = None

    def run(self, jobs: Jobs) -> Iterator[Outcome]:
        """As the protocol says."""
        while self._begin(jobs, wait=True):
            while self._begun is not None:
                job, building = self._begun
                wait([building])
                self._begun = None
                self._begin(jobs, wait=False)
                try:
                    outcome = self._end(job, building.result())
                except Exception as exc:  # noqa: BLE001  one shard's failure must not end the others
                    outcome = failed(job, exc)
                yield outcome

    def _begin(self, jobs: Jobs, *, wait: bool) -> bool:
        if (job := jobs.get(wait=wait)) is None:
            return False
        self._begun = job, self._builder.submit(self._build, job.name)
        return True

    def _build(self, unit: str) -> Built | RowsMeta:
        return self._emitter.record(unit) or self._emitter.build(unit)

    def _end(self, job: UnitJob, built: Built | RowsMeta) -> Outcome:
        was_done = isinstance(built, RowsMeta)
        meta = built if isinstance(built, RowsMeta) else self._emitter.put(built)
        return outcome_of(job.name, meta.counts, self._meter.lap(), was_done=was_done)

    def close(self) -> None:
        """Give up what is being built."""
        self._emitter.stop()
        self._builder.shutdown(wait=False, cancel_futures=True)
        if self._begun is not None:
            done, _ = wait([self._begun[1]], timeout=STOP_S)
            for each in done:
                if not each.cancelled() and each.exception() is None and isinstance(built := each.result(), Built):
                    built.remove()
