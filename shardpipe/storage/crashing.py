"""Stores for tests: one that crashes at the n-th operation, one that writes down what reaches it, one with a hook.

All wrap another store and count the operations that reach it (`scratch` and `local_path` do not).
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from shardpipe.core.errors import StoreError
from shardpipe.storage.growing import GrowingFile, LocalFile
from shardpipe.storage.store import Entry, Honours, Store, Upload

if TYPE_CHECKING:
    from builtins import list as List  # noqa: N812  a method hides `list` inside the class

T = TypeVar("T")
CrashMode = Literal["before", "after", "torn reply"]
WRITES = frozenset({"create", "put_file", "replace", "overwrite", "delete", "abort_upload"})


class Crash(BaseException):
    """The process died at a store operation. No Exception: nothing on the way may catch it, as with kill -9."""


@dataclass(frozen=True)
class Operation:
    """One operation that reached the store; `num_bytes` were sent or received (0 where none are)."""

    name: str
    path: str
    num_bytes: int


class RecordingStore:
    """Passes everything on, and keeps the operations in `operations`, in order."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.operations: List[Operation] = []
        self._mutex = threading.Lock()

    @property
    def url(self) -> str:
        """The inner store's."""
        return self.inner.url

    def read(self, path: str) -> bytes:
        """See Store."""
        return self._reach("read", path, lambda: self.inner.read(path), count=len)

    def read_range(self, path: str, start: int, length: int) -> bytes:
        """See Store."""
        return self._reach("read_range", path, lambda: self.inner.read_range(path, start, length), count=len)

    def size(self, path: str) -> int | None:
        """See Store."""
        return self._reach("size", path, lambda: self.inner.size(path))

    def list(self, prefix: str) -> dict[str, int]:
        """See Store."""
        return self._reach("list", prefix, lambda: self.inner.list(prefix))

    def entries(self, prefix: str) -> dict[str, Entry]:
        """See Store."""
        return self._reach("entries", prefix, lambda: self.inner.entries(prefix))

    def age_s(self, path: str) -> float | None:
        """See Store."""
        return self._reach("age_s", path, lambda: self.inner.age_s(path))

    def create(self, path: str, data: bytes) -> bytes:
        """See Store."""
        return self._reach("create", path, lambda: self.inner.create(path, data), count=lambda _: len(data))

    def put_file(self, path: str, local: LocalFile) -> None:
        """See Store."""
        file = GrowingFile.whole(local)
        self._reach("put_file", path, lambda: self.inner.put_file(path, local), count=lambda _: file.wait())

    def replace(self, path: str, data: bytes) -> None:
        """See Store."""
        self._reach("replace", path, lambda: self.inner.replace(path, data), count=lambda _: len(data))

    def overwrite(self, path: str, local: Path) -> None:
        """See Store."""
        num_bytes = local.stat().st_size
        self._reach("overwrite", path, lambda: self.inner.overwrite(path, local), count=lambda _: num_bytes)

    def delete(self, path: str) -> None:
        """See Store."""
        self._reach("delete", path, lambda: self.inner.delete(path))

    def uploads(self) -> Sequence[Upload]:
        """See Store."""
        return self._reach("uploads", "", self.inner.uploads)

    def abort_upload(self, upload: Upload) -> None:
        """See Store."""
        self._reach("abort_upload", upload.path, lambda: self.inner.abort_upload(upload))

    @property
    def honours(self) -> Honours | None:
        """The inner store's."""
        return self.inner.honours

    def probe(self) -> Honours:
        """The inner store's."""
        return self.inner.probe()

    def local_path(self, path: str) -> Path | None:  # noqa: ARG002
        """None, so that every read passes here."""
        return None

    def scratch(self, num_bytes: int = 0, *, is_guess: bool = False, stopped: threading.Event | None = None) -> Path:
        """See Store."""
        return self.inner.scratch(num_bytes, is_guess=is_guess, stopped=stopped)

    def _reach(self, name: str, path: str, act: Callable[[], T], *, count: Callable[[T], int] | None = None) -> T:
        """Do one operation, and write it down if it succeeded."""
        result = act()
        with self._mutex:
            self.operations.append(Operation(name, path, count(result) if count else 0))
        return result


class HookedStore(RecordingStore):
    """Calls `hook(n, name, path)` before the n-th counted operation, n from 0: to run another driver in between."""

    def __init__(self, inner: Store, hook: Callable[[int, str, str], None], *, writes_only: bool = False) -> None:
        super().__init__(inner)
        self.count = 0
        self._hook = hook
        self._writes_only = writes_only

    def _reach(self, name: str, path: str, act: Callable[[], T], *, count: Callable[[T], int] | None = None) -> T:
        if name in WRITES or not self._writes_only:
            with self._mutex:
                n = self.count
                self.count += 1
            self._hook(n, name, path)
        return super()._reach(name, path, act, count=count)


class CrashingStore(RecordingStore):
    """Raises Crash at the operation number `crash_at` (from 0), `before` it or `after` it took effect.

    After a crash every further operation raises Crash too: the dead write nothing. In the mode `torn reply` the
    operation takes effect, its caller gets a StoreError as if the reply was lost, and the process lives on.
    `count` is the number of operations so far: run once with `crash_at=None` to learn how many there are.
    """

    def __init__(
        self, inner: Store, crash_at: int | None, mode: CrashMode = "before", *, writes_only: bool = False
    ) -> None:
        super().__init__(inner)
        self.count = 0
        self.crashed = False
        self._crash_at = crash_at
        self._mode = mode
        self._writes_only = writes_only

    def _reach(self, name: str, path: str, act: Callable[[], T], *, count: Callable[[T], int] | None = None) -> T:
        with self._mutex:
            if self.crashed:
                raise Crash(f"{name} {path}: the process is dead")
            now = False
            if name in WRITES or not self._writes_only:
                now = self.count == self._crash_at
                self.count += 1
            self.crashed = now and self._mode == "before"
        if self.crashed:
            raise Crash(f"before operation {self._crash_at}: {name} {path}")
        result = super()._reach(name, path, act, count=count)
        if now and self._mode == "after":
            self.crashed = True
            raise Crash(f"after operation {self._crash_at}: {name} {path}")
        if now:
            raise StoreError(f"{name} {path}: the reply was lost (operation {self._crash_at})")
        return result
