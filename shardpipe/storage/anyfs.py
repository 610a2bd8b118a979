"""A backend on any fsspec file system by its plain calls: for reading; and memory, which can be written too."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fsspec.implementations.memory import MemoryFile

from shardpipe.core.errors import ShardpipeError, StoreError
from shardpipe.core.temporary import is_temporary
from shardpipe.storage.backend import Head, TransientError
from shardpipe.storage.growing import GrowingFile, file_of
from shardpipe.storage.store import Entry, Honours, Upload

if TYPE_CHECKING:
    from builtins import list as List  # noqa: N812  a method hides `list` inside the class

VERSIONED_BY = ("ETag", "etag", "LastModified", "last_modified", "updated", "mtime", "created")


class AnyBackend:
    """Objects of the fsspec file system `fs`."""

    def __init__(self, fs: Any) -> None:  # noqa: ANN401  fsspec is untyped
        self._fs = fs
        self.protocol = protocol_of(fs)
        self.can_create = self.protocol == "memory"
        self.honours: Honours | None = Honours() if self.can_create else None

    def get(self, key: str) -> bytes:
        """See Backend."""
        with _errors():
            data = bytes(self._fs.cat_file(key))
            size = None if self.can_create else self._fs.info(key).get("size")
        if size is not None and len(data) != size:
            raise TransientError(f"{len(data)} bytes came of {size}")
        return data

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See Backend."""
        with _errors():
            data = bytes(self._fs.cat_file(key, start=start, end=start + length))
            if len(data) == length:
                return data
            size = self._fs.info(key).get("size")
        if len(data) == size:  # a server that knows no ranges gave it whole
            return data[start : start + length]
        if size is not None and len(data) < min(length, max(0, size - start)):
            raise TransientError(f"{len(data)} of {length} bytes came, and the object has {size}")
        return data[:length]

    def head(self, key: str) -> Head | None:
        """See Backend."""
        with _errors():
            try:
                info = self._fs.info(key)
            except FileNotFoundError:
                return None
        if info["type"] != "file":
            return None
        return Head(int(info["size"]), _version(info), _age_s(info))

    def list(self, prefix: str) -> "List[tuple[str, Entry]]":
        """See Backend."""
        with _errors():
            try:
                found = self._fs.find(prefix.removesuffix("/"), detail=True)
            except FileNotFoundError:
                return []
        files = ((key, info) for key, info in found.items() if info["type"] == "file" and key.startswith(prefix))
        return [(key, Entry(int(info["size"]), _version(info))) for key, info in files]

    def create(self, key: str, data: bytes) -> None:
        """See Backend. Check and set in one step of the interpreter; fsspec's own create mode has a gap between the two."""
        file = MemoryFile(self._fs, key, data)
        if self._fs.store.setdefault(key, file) is not file:
            raise FileExistsError(key)

    def put(self, key: str, data: bytes) -> None:
        """See Backend."""
        with _errors():
            self._fs.pipe_file(key, data)

    def put_file(self, key: str, file: GrowingFile, *, if_absent: bool) -> None:
        """See Backend. Not `put_file` of fsspec's memory: it shows an empty object first."""
        data = file_of(file).read_bytes()
        if if_absent:
            self.create(key, data)
        else:
            self.put(key, data)

    def delete(self, key: str) -> None:
        """See Backend."""
        with _errors():
            try:
                self._fs.rm_file(key)
            except FileNotFoundError:
                return

    def uploads(self, prefix: str) -> Sequence[Upload]:  # noqa: ARG002  there are none
        """None."""
        return ()

    def abort_upload(self, key: str, upload_id: str) -> None:
        """There is nothing to abort."""


def protocol_of(fs: Any) -> str:  # noqa: ANN401
    """The first name of a file system's protocol: `s3` of ("s3", "s3a")."""
    names: str | tuple[str, ...] = fs.protocol
    return names if isinstance(names, str) else names[0]


@contextmanager
def _errors() -> Iterator[None]:
    """Each backend has its own errors (OSError, aiohttp's, its library's): what may pass is told by type."""
    try:
        yield
    except (FileNotFoundError, FileExistsError, ShardpipeError):
        raise
    except Exception as error:
        if is_temporary(error):
            raise TransientError(f"{type(error).__name__}: {error}") from error
        raise StoreError(f"{type(error).__name__}: {error}") from error


def _version(info: dict[str, Any]) -> str:
    marks = [str(info[name]) for name in VERSIONED_BY if info.get(name)]
    return "-".join([str(info["size"]), *marks])


def _age_s(info: dict[str, Any]) -> float | None:
    written = next((info[name] for name in ("LastModified", "mtime", "created") if info.get(name)), None)
    if isinstance(written, datetime):
        written = written.timestamp()
    return max(0.0, time.time() - written) if isinstance(written, int | float) else None
