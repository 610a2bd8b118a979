"""The threads of `verify`: several objects in flight, and of each as many bytes read ahead as memory allows.

    each(items) ─▶ one thread an object: read, hash, compare ─▶ what was found, in the order of the items
                        ▲ chunks(path): ranged reads ahead of the one that is hashed, where the store is no local disk

Hashes, Parquet and decoders work without the interpreter's lock, so threads use all cores.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from shardpipe.core.errors import IncompleteError
from shardpipe.engine.verifying.findings import Findings
from shardpipe.storage.store import Store

S = TypeVar("S")
T = TypeVar("T")
CHUNK = 8 << 20
REMOTE_OBJECTS = 16
"""Objects in flight at least where each request takes its time."""

MAX_AHEAD_BYTES = 512 << 20
"""Read ahead of what is hashed, of all objects in flight together."""

MOST_AHEAD = 4
WAITING = 8
"""Times the threads: objects that are begun or done before the first of them is told, where little is kept of each."""


class Crew:
    """Threads at work on the objects of `store`; `tell` is called with the bytes of each chunk that was read."""

    def __init__(self, store: Store, tell: Callable[[int], None]) -> None:
        self._store = store
        self._tell = tell
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        is_remote = store.local_path("any") is None
        num = max(cores, REMOTE_OBJECTS) if is_remote else cores
        self._ahead = max(1, min(MOST_AHEAD, MAX_AHEAD_BYTES // (num * CHUNK)))
        self._num = num
        self._objects = ThreadPoolExecutor(num)
        self._reads = ThreadPoolExecutor(num * self._ahead)
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the threads; what is in flight stops at its next chunk."""
        self._ended.set()
        self._objects.shutdown(cancel_futures=True)
        self._reads.shutdown(cancel_futures=True)

    def each(
        self, findings: Findings, items: Iterable[S], act: Callable[[Findings, S], T], *, waiting: int = WAITING
    ) -> Iterator[T]:
        """What `act` gives of each item, in order, done in parallel; what it finds comes to `findings` in that order too."""
        ahead: deque[tuple[Findings, Future[T]]] = deque()
        for item in items:
            own = findings.apart()
            ahead.append((own, self._objects.submit(act, own, item)))
            if len(ahead) > self._num * waiting:
                yield _taken(findings, *ahead.popleft())
        while ahead:
            yield _taken(findings, *ahead.popleft())

    def run(self, findings: Findings, items: Iterable[S], act: Callable[[Findings, S], None]) -> None:
        """As `each`, where only what is found counts."""
        for _ in self.each(findings, items, act):
            pass

    def chunks(self, path: str, num_bytes: int) -> Iterator[bytes]:
        """The bytes of an object, in order."""
        file = self._store.local_path(path)
        for chunk in self._remote(path, num_bytes) if file is None else _local(file):
            if self._ended.is_set():
                raise IncompleteError("stopped")
            self._tell(len(chunk))
            yield chunk

    def _remote(self, path: str, num_bytes: int) -> Iterator[bytes]:
        ahead: deque[Future[bytes]] = deque()
        try:
            for start in range(0, num_bytes, CHUNK):
                size = min(CHUNK, num_bytes - start)
                ahead.append(self._reads.submit(self._store.read_range, path, start, size))
                if len(ahead) > self._ahead:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def _local(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _taken(findings: Findings, own: Findings, future: Future[T]) -> T:
    found = future.result()
    findings.take(own)
    return found
