"""A remote object as a seekable file whose bytes are fetched by need, each once at most while it is open.

    read ─▶ there already? ─▶ the sparse file on local disk ─▶ bytes
              no: one range, now; and while reads go on in order, ranges ahead of them, in threads

How far it reads ahead grows with the bytes that were read in order, so that a look at a header costs a header. Several
places may be read in turn (the pictures here, the sound there), each with its own read-ahead.
"""

import io
import os
import tempfile
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from shardpipe.engine.sources.lastread import Piece, worth_keeping

AHEAD_BYTES = 8 << 20
"""It reads so far ahead at most."""

REQUEST_BYTES = 2 << 20
READ_BYTES = 32 << 10
THREADS = 4
MAX_PLACES = 4

Fetch = Callable[[int, int], tuple[int, bytes]]
"""(first byte, byte after the last) to a place and the bytes from there on: those asked for, or the whole object where a
server gives nothing less. Raises MediaError or StoreError."""


class Ranges:
    """A set of bytes, as ranges that neither touch nor overlap."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def add(self, start: int, stop: int) -> None:
        """Add bytes start .. stop - 1."""
        if start >= stop:
            return
        low, high = bisect_left(self._stops, start), bisect_right(self._starts, stop)
        if low < high:
            start, stop = min(start, self._starts[low]), max(stop, self._stops[high - 1])
        self._starts[low:high], self._stops[low:high] = [start], [stop]

    def gaps(self, start: int, stop: int) -> list[tuple[int, int]]:
        """What is missing of start .. stop - 1, in order."""
        found: list[tuple[int, int]] = []
        for place in range(bisect_right(self._stops, start), len(self._starts)):
            if self._starts[place] >= stop or start >= stop:
                break
            if start < self._starts[place]:
                found.append((start, self._starts[place]))
            start = self._stops[place]
        if start < stop:
            found.append((start, stop))
        return found


class _Place:
    """Where reads go on in order, and for how many bytes they did."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.length = 0


class RemoteFile(io.RawIOBase):
    """Bytes offset .. offset + num_bytes - 1 of an object. `folder`: where the sparse file lies; None: in memory.

    ahead_bytes: how far it reads ahead at most; 0: never. read_bytes: the least that is fetched at once. num_fetched: bytes
    fetched so far; once it is closed, of all that came. failure: why bytes that were asked for
    did not come, the first time. given_up: set when it is closed, so that `fetch` asks no more. known: what need not be fetched
    any more, (first byte of the object, bytes) each; keep: called with such pieces when it is closed. It is read by one thread.
    """

    def __init__(
        self,
        fetch: Fetch,
        num_bytes: int,
        *,
        name: str,
        folder: Path | None,
        offset: int = 0,
        ahead_bytes: int = AHEAD_BYTES,
        read_bytes: int = READ_BYTES,
        threads: int = THREADS,
        given_up: threading.Event | None = None,
        known: Sequence[Piece] = (),
        keep: Callable[[Sequence[Piece]], None] | None = None,
    ) -> None:
        self.name, self.read_bytes, self.num_fetched = name, read_bytes, 0
        self._fetch, self._offset, self._end = fetch, offset, offset + num_bytes
        self._at, self._ahead, self._threads = offset, ahead_bytes, threads
        self._given_up = given_up or threading.Event()
        self._file = _sparse_file(folder)
        self._asked = Ranges()  # is there, or on its way
        self._coming: dict[int, tuple[int, Future[tuple[int, int]]]] = {}
        self._places: list[_Place] = []  # the latest last
        self.failure: Exception | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._keep, self._fetched_ranges = keep, [(at, at + len(data)) for at, data in known]
        for at, data in known:
            write_at(self._file.fileno(), data, at)
            self._asked.add(at, at + len(data))

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As io says; OSError before the first byte."""
        at = offset + {io.SEEK_SET: self._offset, io.SEEK_CUR: self._at, io.SEEK_END: self._end}[whence]
        if at < self._offset:
            raise OSError(f"{self.name}: there is no byte {at - self._offset}")
        self._at = at
        return at - self._offset

    def tell(self) -> int:
        """As io says."""
        return self._at - self._offset

    def read(self, size: int | None = -1) -> bytes:
        """As io says; all that was asked for, unless the file ends. Raises MediaError or StoreError."""
        start = min(self._at, self._end)
        stop = self._end if size is None or size < 0 else min(start + size, self._end)
        if start >= stop:
            return b""
        try:
            self._need(start, stop)
        except Exception as error:
            self.failure = self.failure or error
            raise
        data = os.pread(self._file.fileno(), stop - start, start)
        self._at = start + len(data)
        return data

    def readall(self) -> bytes:
        """As io says."""
        return self.read()

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """As io says."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Fetch no more, and give the disk back."""
        if not self.closed:
            self._given_up.set()
            if self._pool is not None:
                self._pool.shutdown(wait=True, cancel_futures=True)
            for _, future in self._coming.values():
                if not future.cancelled() and future.exception() is None:
                    self._arrived(*future.result())
            if self._keep is not None:
                ranges = worth_keeping(self._fetched_ranges)
                self._keep([(start, os.pread(self._file.fileno(), stop - start, start)) for start, stop in ranges])
            self._file.close()
        super().close()

    def _need(self, start: int, stop: int) -> None:
        """Have start .. stop - 1 in the sparse file, and read ahead where reads go on in order."""
        missing = self._asked.gaps(start, stop)
        place = self._place(start, stop, is_new=bool(missing))
        least = min(start + self.read_bytes, self._end)
        if missing and missing[-1][1] == stop < least:
            missing = self._asked.gaps(start, least)
        if place is not None:
            self._read_ahead(max(stop, missing[-1][1] if missing else 0), min(self._ahead, place.length))
        for gap in missing:
            self._arrived(*self._fetched(*gap))
        for at in [at for at, (end, _) in self._coming.items() if at < stop and end > start]:
            self._arrived(*self._coming[at][1].result())
            del self._coming[at]

    def _place(self, start: int, stop: int, *, is_new: bool) -> _Place | None:
        """The place that a read goes on from, or a new one; None for what is there already, as is all around it."""
        for place in reversed(self._places):
            if place.at <= start <= place.at + max(4 * self.read_bytes, min(self._ahead, place.length)):
                place.length += stop - place.at
                self._places.remove(place)
                break
        else:
            if not is_new:
                return None
            place = _Place(stop)
        place.at = stop
        self._places = [*self._places[1 - MAX_PLACES :], place]
        return place

    def _read_ahead(self, start: int, num_bytes: int) -> None:
        stop = min(start + num_bytes, self._end)
        for first, last in self._asked.gaps(start, stop):
            if last == stop < self._end and last - first < min(REQUEST_BYTES, num_bytes // 2):
                return  # too small a request
            for at in range(first, last, REQUEST_BYTES):
                end = min(at + REQUEST_BYTES, last)
                self._asked.add(at, end)
                self._pool = self._pool or ThreadPoolExecutor(self._threads)
                self._coming[at] = (end, self._pool.submit(self._fetched, at, end))

    def _fetched(self, start: int, stop: int) -> tuple[int, int]:
        """Fetch bytes into the sparse file: the place of what came, and where that ends. In any thread."""
        at, data = self._fetch(start, stop)
        write_at(self._file.fileno(), data, at)
        return at, at + len(data)

    def _arrived(self, start: int, stop: int) -> None:
        self.num_fetched += stop - start
        self._fetched_ranges.append((start, stop))
        self._asked.add(start, stop)


def write_at(fd: int, data: bytes, at: int) -> None:
    """Write every byte to a place in a file, whatever one call takes."""
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, at)
        view, at = view[written:], at + written


def _sparse_file(folder: Path | None) -> BinaryIO:
    """An empty file without a name, so that it ends with this process."""
    if folder is None and hasattr(os, "memfd_create"):
        return open(os.memfd_create("shardpipe-source", os.MFD_CLOEXEC), "w+b", buffering=0)  # noqa: PTH123  a descriptor
    return tempfile.TemporaryFile(dir=folder, buffering=0)
