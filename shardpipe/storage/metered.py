"""A store that counts what goes through it: requests, bytes read, bytes written. For `_run/` and cost figures only."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from shardpipe.core.work import Usage
from shardpipe.storage.growing import GrowingFile, LocalFile
from shardpipe.storage.store import Entry, Honours, Store, Upload


class MeteredStore:
    """A Store over another one. Counts are of this object's whole life; take differences of `usage`."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self._requests = self._read = self._written = 0
        self._lock = threading.Lock()  # reads ahead and decoders count too

    @property
    def url(self) -> str:
        """The inner store's."""
        return self._inner.url

    def usage(self) -> tuple[int, int, int]:
        """(requests, bytes read, bytes written) so far."""
        return self._requests, self._read, self._written

    def count_read(self, num_bytes: int) -> None:
        """Add a read that was done past this object, straight from a local file."""
        self._count(read=num_bytes)

    def _count(self, *, requests: int = 1, read: int = 0, written: int = 0) -> None:
        with self._lock:
            self._requests += requests
            self._read += read
            self._written += written

    def read(self, path: str) -> bytes:
        """Counted."""
        data = self._inner.read(path)
        self.count_read(len(data))
        return data

    def read_range(self, path: str, start: int, length: int) -> bytes:
        """Counted."""
        self.count_read(length)
        return self._inner.read_range(path, start, length)

    def size(self, path: str) -> int | None:
        """Counted."""
        self._count()
        return self._inner.size(path)

    def list(self, prefix: str) -> dict[str, int]:
        """Counted as one request for each thousand objects."""
        found = self._inner.list(prefix)
        self._count(requests=1 + len(found) // 1000)
        return found

    def entries(self, prefix: str) -> dict[str, Entry]:
        """Counted as `list`."""
        found = self._inner.entries(prefix)
        self._count(requests=1 + len(found) // 1000)
        return found

    def age_s(self, path: str) -> float | None:
        """Counted."""
        self._count()
        return self._inner.age_s(path)

    def create(self, path: str, data: bytes) -> bytes:
        """Counted."""
        self._count(written=len(data))
        return self._inner.create(path, data)

    def put_file(self, path: str, local: LocalFile) -> None:
        """Counted."""
        file = GrowingFile.whole(local)
        self._inner.put_file(path, local)
        self._count(written=file.wait())

    def replace(self, path: str, data: bytes) -> None:
        """Counted."""
        self._count(written=len(data))
        self._inner.replace(path, data)

    def overwrite(self, path: str, local: Path) -> None:
        """Counted."""
        self._count(written=local.stat().st_size)
        self._inner.overwrite(path, local)

    def delete(self, path: str) -> None:
        """Counted."""
        self._count()
        self._inner.delete(path)

    def uploads(self) -> Sequence[Upload]:
        """Counted."""
        self._count()
        return self._inner.uploads()

    def abort_upload(self, upload: Upload) -> None:
        """Counted."""
        self._count()
        self._inner.abort_upload(upload)

    @property
    def honours(self) -> Honours | None:
        """The inner store's."""
        return self._inner.honours

    def probe(self) -> Honours:
        """The inner store's."""
        return self._inner.probe()

    def local_path(self, path: str) -> Path | None:
        """The inner store's."""
        return self._inner.local_path(path)

    def scratch(self, num_bytes: int = 0, *, is_guess: bool = False, stopped: threading.Event | None = None) -> Path:
        """The inner store's."""
        return self._inner.scratch(num_bytes, is_guess=is_guess, stopped=stopped)


class Meter:
    """What a worker took, from one unit's end to the next's: sums over units are exact, though units overlap."""

    def __init__(self, store: MeteredStore) -> None:
        self._store = store
        self._last = self._now()

    def _now(self) -> tuple[float, float, int, int, int]:
        return (time.monotonic(), time.process_time(), *self._store.usage())

    def lap(self, *, extra_cpu_s: float = 0.0, gpu_s: float = 0.0) -> Usage:
        """Since the last lap (or the start); `extra_cpu_s` is what other processes spent meanwhile."""
        now, last = self._now(), self._last
        self._last = now
        wall_s, cpu_s, requests, read, written = (a - b for a, b in zip(now, last, strict=True))
        return Usage(wall_s, cpu_s + extra_cpu_s, gpu_s, int(read), int(written), int(requests))
