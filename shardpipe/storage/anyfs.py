"""A backend on any fsspec file system by its plain calls.

gs, abfs             a write is one request: seen whole or not at all, and on condition where the server knows conditions
memory               the same within this process
all others           a file under ROOT/.tmp/, then moved into its place: nothing tells two writers apart
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote
from uuid import uuid4

from fsspec.implementations.memory import MemoryFile

from shardpipe.core.errors import ShardpipeError, StoreError
from shardpipe.core.temporary import http_status, is_temporary
from shardpipe.storage.backend import Head, TransientError
from shardpipe.storage.growing import GrowingFile, file_of
from shardpipe.storage.store import TEMP, Entry, Honours, Upload

if TYPE_CHECKING:
    from builtins import list as List  # noqa: N812  a method hides `list` inside the class

CONDITIONAL = frozenset({"gs", "abfs"})
"""Of gcsfs and adlfs: `mode="create"` is the condition of a request there, and elsewhere a look before a write."""

WRITTEN_AT = ("LastModified", "last_modified", "mtime", "modified", "updated", "created")
VERSIONED_BY = ("ETag", "etag", *WRITTEN_AT)


class AnyBackend:
    """Objects of the fsspec file system `fs`; those of a root lie below the key `root`."""

    def __init__(self, fs: Any, root: str) -> None:  # noqa: ANN401  fsspec is untyped
        self._fs = fs
        self._root = root
        self.protocol = protocol_of(fs)
        self._is_memory = self.protocol == "memory"
        self.can_create = self._is_memory or self.protocol in CONDITIONAL
        self.honours: Honours | None = Honours() if self._is_memory else None

    def get(self, key: str) -> bytes:
        """See Backend."""
        with _errors():
            data = bytes(self._fs.cat_file(key))
            size = None if self._is_memory else self._fs.info(key).get("size")
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
        """See Backend. In memory check and set in one step of the interpreter; fsspec's own create mode has a gap between the two."""
        if self._is_memory:
            file = MemoryFile(self._fs, key, data)
            if self._fs.store.setdefault(key, file) is not file:
                raise FileExistsError(key)
        elif self.can_create:
            with _errors():
                self._fs.pipe_file(key, data, mode="create")
        else:
            self.put(key, data)

    def put(self, key: str, data: bytes) -> None:
        """See Backend."""
        self._put(key, lambda there: self._fs.pipe_file(there, data))

    def put_file(self, key: str, file: GrowingFile, *, if_absent: bool) -> None:
        """See Backend. Not `put_file` of fsspec's memory: it shows an empty object first."""
        path = file_of(file)
        if not self._is_memory:
            self._put(key, lambda there: self._fs.put_file(str(path), there))
        elif if_absent:
            self.create(key, path.read_bytes())
        else:
            self.put(key, path.read_bytes())

    def _put(self, key: str, write: Callable[[str], object]) -> None:
        """Have it written at once where nobody sees a part of it (where there are conditions), else under a name of its own, and moved."""
        with _errors():
            if self.can_create:
                write(key)
                return
            temp = f"{self._root}/{TEMP}/{uuid4().hex}.{quote(key[len(self._root) + 1 :], safe='')}"
            for each in (temp, key):
                self._fs.makedirs(each.rpartition("/")[0], exist_ok=True)
            try:
                write(temp)
                self._fs.mv(temp, key)
            except BaseException:
                with suppress(Exception):  # what went wrong first is raised; `doctor` finds what stays
                    self._fs.rm_file(temp)
                raise

    def delete(self, key: str) -> None:
        """See Backend."""
        with _errors():
            try:
                self._fs.rm_file(key)
            except FileNotFoundError:
                return

    def uploads(self, prefix: str) -> Sequence[Upload]:
        """See Backend: files that were begun under ROOT/.tmp/ and not moved into their place; their ids are the names there."""
        found = []
        for key, _ in [] if self.can_create else self.list(f"{self._root}/{TEMP}/"):
            name = key.rpartition("/")[2]
            path, head = f"{self._root}/{unquote(name.partition('.')[2])}", self.head(key)
            if head is not None and path.startswith(prefix):
                found.append(Upload(path, name, head.age_s or 0.0))
        return found

    def abort_upload(self, key: str, upload_id: str) -> None:  # noqa: ARG002  an id says all
        """See Backend."""
        self.delete(f"{self._root}/{TEMP}/{upload_id}")


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
        if http_status(error) == HTTPStatus.PRECONDITION_FAILED:
            raise FileExistsError(str(error)) from error
        if is_temporary(error):
            raise TransientError(f"{type(error).__name__}: {error}") from error
        raise StoreError(f"{type(error).__name__}: {error}") from error


def _version(info: dict[str, Any]) -> str:
    marks = [str(info[name]) for name in VERSIONED_BY if info.get(name)]
    return "-".join([str(info["size"]), *marks])


def _age_s(info: dict[str, Any]) -> float | None:
    """By this machine's clock. A time without a zone is one of UTC."""
    written = next((info[name] for name in WRITTEN_AT if info.get(name)), None)
    if isinstance(written, str):
        with suppress(ValueError):
            written = datetime.fromisoformat(written)
    if isinstance(written, datetime):
        written = (written if written.tzinfo is not None else written.replace(tzinfo=UTC)).timestamp()
    return max(0.0, time.time() - written) if isinstance(written, int | float) else None
