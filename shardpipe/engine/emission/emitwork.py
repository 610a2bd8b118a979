"""The worker of the emit phase: it puts a shard while that is built, on a bucket, and builds the next while the one before is put.

    thread build-shard    read, build 000000 │ read, build 000001 │ read, build 000002
    the worker              put 000000          │ put 000001          │ put 000002

At most two shards are on scratch. Puts stay in the worker's own thread, where Ctrl-C ends and aborts them.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from shardpipe.core.work import Outcome, UnitJob
from shardpipe.engine.counts import outcome_of
from shardpipe.engine.emission.emit import Built, Emitter
from shardpipe.engine.worker import Jobs, failed
from shardpipe.storage.growing import GrowingFile
from shardpipe.storage.metered import Meter, MeteredStore
from shardpipe.storage.rows import RowsMeta
from shardpipe.storage.store import Store

STOP_S = 5.0
"""So long the end of a worker waits for the shard that is being built."""

AT_ONCE = 2


@dataclass(eq=False)
class _Shard:
    """One that is built, or will be next. tar: given where it may be put before it is built."""

    job: UnitJob
    tar: "Future[GrowingFile]" = field(default_factory=Future)
    built: "Future[Built | RowsMeta]" = field(default_factory=Future)


class EmitWorker:
    """Writes the shards of one Dataset, in the order of their jobs."""

    def __init__(self, store: Store, name: str) -> None:
        metered = MeteredStore(store)
        self._meter = Meter(metered)
        self._emitter = Emitter(metered, name)
        self._builder = ThreadPoolExecutor(1, thread_name_prefix="build-shard")
        self._shards: deque[_Shard] = deque()

    def run(self, jobs: Jobs) -> Iterator[Outcome]:
        """As the protocol says."""
        while self._begin(jobs, wait=True):
            while self._shards:
                if len(self._shards) < AT_ONCE:
                    self._begin(jobs, wait=False)
                shard = self._shards[0]
                try:
                    outcome = self._end(shard)
                except Exception as exc:  # noqa: BLE001  one shard's failure must not end the others
                    outcome = failed(shard.job, exc)
                self._shards.popleft()
                yield outcome

    def _begin(self, jobs: Jobs, *, wait: bool) -> bool:
        if (job := jobs.get(wait=wait)) is None:
            return False
        shard = _Shard(job)
        shard.built = self._builder.submit(self._build, shard)
        self._shards.append(shard)
        return True

    def _build(self, shard: _Shard) -> Built | RowsMeta:
        unit = shard.job.name
        return self._emitter.record(unit) or self._emitter.build(unit, shard.tar.set_result)

    def _end(self, shard: _Shard) -> Outcome:
        either: list[Future[Any]] = [shard.tar, shard.built]
        wait(either, return_when=FIRST_COMPLETED)
        has_tar = shard.tar.done() and self._put_tar(shard)
        built = shard.built.result()
        was_done = isinstance(built, RowsMeta)
        meta = built if isinstance(built, RowsMeta) else self._emitter.put(built, has_tar=has_tar)
        return outcome_of(shard.job.name, meta.counts, self._meter.lap(), was_done=was_done)

    def _put_tar(self, shard: _Shard) -> bool:
        """Put the tar as it grows; False if it was given up, which its `built` tells of, or if `Emitter.put` must see to it. What
        cannot be put frees its scratch.
        """
        try:
            return self._emitter.put_tar(shard.job.name, shard.tar.result())
        except Exception:
            if isinstance(built := shard.built.result(), Built):
                built.remove()
            raise

    def close(self) -> None:
        """Give up what is being built."""
        self._emitter.stop()
        self._builder.shutdown(wait=False, cancel_futures=True)
        done, _ = wait([shard.built for shard in self._shards if not shard.built.cancelled()], timeout=STOP_S)
        for each in done:
            if each.exception() is None and isinstance(built := each.result(), Built):
                built.remove()
