"""Reading ahead: ranges that will be wanted, in order of need, are on the way before anybody waits for them.

    want(path, start, length) ─▶ queue of parts ─▶ joined reads, several in flight ─▶ Wanted.pieces / read
                                                   at most `max_bytes` on the way or waiting to be taken

Neighbours in one object share a read, a long range is several. Whoever takes a part that is not on the way yet starts it
at once, over the limit: nobody waits for ever. All calls are good from any thread.
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Self

from shardpipe.core.errors import IntegrityError, StoreError
from shardpipe.storage.ranges import MAX_BYTES, join_ranges
from shardpipe.storage.store import Store

AHEAD_BYTES = 48 << 20
"""Three large reads are in flight then; more were no faster, and cost fresh memory."""

REQUESTS = 16
"""So many at a time: at 30 ms each, more than the CPU of one process can deal with."""

LOOK_PARTS = 512
LOOK_BYTES = 32 << 20
"""How far behind the first part in the queue its neighbours are looked for."""


@dataclass(eq=False)
class _Read:
    """A request. num_left: the parts that have not been taken."""

    start: int
    length: int
    num_left: int
    data: "Future[bytes]"


@dataclass(eq=False)
class _Part:
    """A range that fits one read. is_begun: it was given to one, or given up; `read` is that one until the part is done."""

    path: str
    start: int
    length: int
    is_begun: bool = False
    read: _Read | None = None


@dataclass(eq=False)
class Wanted:
    """A range that was asked for. It is taken once, by `pieces` or by `read`."""

    _ahead: "ReadAhead" = field(repr=False)
    _parts: tuple[_Part, ...]

    def pieces(self) -> Iterator[memoryview]:
        """Its bytes in order, each piece valid until the next is asked for. Raises what the store raises."""
        for i, part in enumerate(self._parts):
            try:
                yield self._ahead.take(part)
            except BaseException:
                self._ahead.done(*self._parts[i:])
                raise
            self._ahead.done(part)

    def read(self) -> bytes:
        """Its bytes at once."""
        if len(self._parts) > 1:
            return b"".join(self.pieces())
        for view in self.pieces():
            whole = view.obj
            data = whole if isinstance(whole, bytes) and len(whole) == len(view) else bytes(view)
        return data


def read_all(wanted: Iterable[Wanted]) -> list[bytes]:
    """The bytes of each: all are taken, also those after one that raises."""
    found: list[bytes] = []
    errors: list[Exception] = []
    for each in wanted:
        try:
            found.append(each.read())
        except Exception as error:  # noqa: BLE001  the first is raised below
            errors.append(error)
    if errors:
        raise errors[0]
    return found


class ReadAhead:
    """Reads of one store. Close it, or use it as a context manager: what nobody took is dropped then."""

    def __init__(self, store: Store, *, max_bytes: int = AHEAD_BYTES, read_bytes: int = MAX_BYTES) -> None:
        self._store = store
        self._max_bytes = max_bytes
        self._read_bytes = read_bytes
        self._pool = ThreadPoolExecutor(REQUESTS, thread_name_prefix="read-ahead")
        self._lock = threading.Lock()
        self._queue: deque[_Part] = deque()
        self._held = 0  # bytes of reads that are not taken whole

    def want(self, path: str, start: int, length: int) -> Wanted:
        """Queue a range; nothing is read before `go`, so that neighbours are known."""
        num_parts = max(1, -(-length // self._read_bytes))
        edges = [start + length * i // num_parts for i in range(num_parts + 1)]
        parts = tuple(_Part(path, at, end - at) for at, end in pairwise(edges))
        with self._lock:
            self._queue.extend(parts)
        return Wanted(self, parts)

    def go(self) -> None:
        """Start reading what was queued, as far as the limit allows."""
        with self._lock:
            self._fill()

    def take(self, part: _Part) -> memoryview:
        """A part's bytes, waited for; IntegrityError if the object ends before. Then, whatever it raises, it is `done`."""
        with self._lock:
            while not part.is_begun and self._queue:
                self._begin_first()
            read = part.read
        if read is None:
            raise StoreError(f"{part.path} in {self._store.url}: reading was given up")
        try:
            at = part.start - read.start
            return memoryview(read.data.result())[at : at + part.length]
        except IntegrityError:  # maybe of a neighbour
            if read.length == part.length:
                raise
            return memoryview(self._store.read_range(part.path, part.start, part.length))

    def done(self, *parts: _Part) -> None:
        """Nobody needs the bytes of these any more."""
        with self._lock:
            for part in parts:
                read, part.read, part.is_begun = part.read, None, True
                if read is not None:
                    read.num_left -= 1
                    self._held -= 0 if read.num_left else read.length
            self._fill()

    def close(self) -> None:
        """Start no more reads; those on the way end by themselves."""
        with self._lock:
            self._queue.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _fill(self) -> None:
        """Only where a whole read has room: small ones as room comes would never be joined."""
        self._skip()
        while self._queue and (not self._held or self._held + self._read_bytes <= self._max_bytes):
            self._begin_first()

    def _begin_first(self) -> None:
        """Start the read of the first part in the queue, and of its neighbours among those that follow."""
        first = self._queue[0]
        parts: list[_Part] = []
        num_bytes = 0
        for part in islice(self._queue, LOOK_PARTS):
            num_bytes += part.length
            if parts and num_bytes > LOOK_BYTES:
                break
            if part.path == first.path and not part.is_begun:
                parts.append(part)
        reads = join_ranges([(part.start, part.length) for part in parts], max_bytes=self._read_bytes)
        joined = next(each for each in reads if 0 in each.members)
        data = self._pool.submit(self._store.read_range, first.path, joined.start, joined.length)
        read = _Read(joined.start, joined.length, len(joined.members), data)
        for i in joined.members:
            parts[i].read, parts[i].is_begun = read, True
        self._held += joined.length
        self._skip()

    def _skip(self) -> None:
        """Have the first part of the queue be one that is not begun."""
        while self._queue and self._queue[0].is_begun:
            self._queue.popleft()
