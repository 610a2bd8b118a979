"""A store on any fsspec file system. It writes where an object can be created only if absent: S3 and memory.

Every other writer of fsspec is kept out: a body that raises inside `with fs.open(url, "wb")` leaves a truncated object.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
from fsspec.implementations.memory import MemoryFile

from shardpipe.core.errors import ConfigError, IntegrityError, ShardpipeError, StoreError
from shardpipe.core.secrets import clean_cause
from shardpipe.storage.local import short_read
from shardpipe.storage.store import TEMP, check_path, check_prefix, check_replaceable

if TYPE_CHECKING:
    from builtins import list as List  # noqa: N812  a method hides `list` inside the class

Create = Callable[[Any, str, bytes], None]
"""(file system, full path, data): create the object if absent; FileExistsError or any other error otherwise."""

CREATE_TRIES = 5
PUT_OPTIONS: Mapping[str, Mapping[str, int]] = {"s3": {"chunksize": 16 << 20, "max_concurrency": 4}}
"""16 MiB x 4 puts at full speed in 80 MiB of memory; s3fs's own 50 MiB x 10 takes 1 GiB."""


class RemoteStore:
    """Objects under `root` (a path inside the file system `fs`); `create` is None for a store that is only read."""

    def __init__(self, fs: Any, root: str, *, url: str, create: Create | None) -> None:  # noqa: ANN401  fsspec is untyped
        self._fs = fs
        self._root = root
        self._url = url
        self._create = create
        self._put_options = PUT_OPTIONS.get(_protocol(fs), {})

    @property
    def url(self) -> str:
        """The root as it was given, without a closing slash."""
        return self._url

    def read(self, path: str) -> bytes:
        """See Store."""
        with backend_errors(path, self._url):
            return bytes(self._fs.cat_file(self._full(path)))

    def read_range(self, path: str, start: int, length: int) -> bytes:
        """See Store."""
        if length == 0:
            return b""
        try:
            with backend_errors(path, self._url):
                data = bytes(self._fs.cat_file(self._full(path), start=start, end=start + length))
        except StoreError as error:  # S3 answers a range beyond the end with an error of its own
            there = self.size(path)
            if there is not None and there < start + length:
                raise short_read(path, self._url, start, length, got=max(0, there - start)) from error
            raise
        if len(data) != length:
            raise short_read(path, self._url, start, length, got=len(data))
        return data

    def size(self, path: str) -> int | None:
        """See Store."""
        with backend_errors(path, self._url):
            try:
                info = self._fs.info(self._full(path))
            except FileNotFoundError:
                return None
            return int(info["size"]) if info["type"] == "file" else None

    def list(self, prefix: str) -> dict[str, int]:
        """See Store."""
        prefix = check_prefix(prefix)
        with backend_errors(prefix, self._url):
            try:
                found = self._fs.find(f"{self._root}/{prefix}".removesuffix("/"), detail=True)
            except FileNotFoundError:
                return {}
        start = len(self._root) + 1
        paths = {full[start:]: info for full, info in found.items() if info["type"] == "file"}
        inside = f"{prefix}/" if prefix else ""
        return {
            path: int(info["size"])
            for path, info in sorted(paths.items())
            if path.startswith(inside) and path != inside and TEMP not in path.split("/")
        }

    def create(self, path: str, data: bytes) -> bytes:
        """See Store. After a refusal or a lost reply, whatever is there is the result."""
        create = self._writer(path)
        full = self._full(path)
        for left in reversed(range(CREATE_TRIES)):
            try:
                create(self._fs, full, data)
            except Exception as error:  # each backend has its own errors
                there = self._read_if_there(path)
                if there is not None:
                    return there
                if left == 0 or isinstance(error, PermissionError | FileNotFoundError):
                    raise StoreError(f"cannot write {path} in {self._url}: {error}; nothing is there") from error
                time.sleep(0.1 * 2 ** (CREATE_TRIES - left - 1))
            else:
                return data
        raise AssertionError("the last try returns or raises")

    def put_file(self, path: str, local: Path) -> None:
        """See Store."""
        self._writer(path)
        num_bytes = local.stat().st_size
        if self.size(path) is None:
            with write_errors(path, self._url):
                self._put(local, self._full(path))
        there = self.size(path)
        if there != num_bytes:
            raise IntegrityError(
                f"{path} in {self._url} has {there} bytes, and the file that was to be there has {num_bytes}: "
                "run `shardpipe verify`, and delete the object if it is the damaged one"
            )
        local.unlink(missing_ok=True)

    def replace(self, path: str, data: bytes) -> None:
        """See Store."""
        self._writer(check_replaceable(path))
        with write_errors(path, self._url):
            self._fs.pipe_file(self._full(path), data)

    def delete(self, path: str) -> None:
        """See Store."""
        self._writer(path)
        with backend_errors(path, self._url):
            try:
                self._fs.rm_file(self._full(path))
            except FileNotFoundError:
                return

    def local_path(self, path: str) -> Path | None:
        """See Store."""
        check_path(path)
        return None

    def scratch(self) -> Path:
        """See Store."""
        return Path(tempfile.mkdtemp(prefix="shardpipe-"))

    def _full(self, path: str) -> str:
        return f"{self._root}/{check_path(path)}"

    def _writer(self, path: str) -> Create:
        if self._create is None:
            raise StoreError(f"{self._url} is open for reading only: {path} was not written")
        return self._create

    def _read_if_there(self, path: str) -> bytes | None:
        try:
            return self.read(path)
        except FileNotFoundError:
            return None

    def _put(self, local: Path, full: str) -> None:
        if _protocol(self._fs) == "memory":  # its put_file shows an empty object first
            self._fs.pipe_file(full, local.read_bytes())
        else:
            self._fs.put_file(str(local), full, **self._put_options)


def open_remote(url: str, *, read_only: bool) -> RemoteStore:
    """The store at an fsspec URL; ConfigError for an unknown scheme, or one that cannot be written safely."""
    scheme, separator, rest = url.partition("://")
    url = f"{scheme}{separator}{rest.rstrip('/')}"
    try:
        fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"root {url} cannot be opened: {error}") from error
    create = CREATORS.get(_protocol(fs))
    if create is None and not read_only:
        raise ConfigError(
            f"cannot write to {url}: {_protocol(fs)} cannot create an object only if it is absent, which commits need; "
            "supported are local folders, s3:// and memory://"
        )
    return RemoteStore(fs, root.rstrip("/"), url=url, create=None if read_only else create)


def create_s3(fs: Any, full: str, data: bytes) -> None:  # noqa: ANN401
    """One conditional PUT, never multipart: s3fs's `put_file` drops the condition there."""
    bucket, key, _ = fs.split_path(full)
    fs.call_s3("put_object", Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")


def create_memory(fs: Any, full: str, data: bytes) -> None:  # noqa: ANN401
    """Check and set in one step of the interpreter; fsspec's own create mode has a gap between the two."""
    file = MemoryFile(fs, full, data)
    if fs.store.setdefault(full, file) is not file:
        raise FileExistsError(full)


CREATORS: Mapping[str, Create] = {"s3": create_s3, "memory": create_memory}
"""How each file system that may be written creates an object only if it is absent."""


@contextmanager
def backend_errors(path: str, url: str) -> Iterator[None]:
    """Raise a backend's errors as StoreError; FileNotFoundError and our own stay what they are."""
    try:
        yield
    except (FileNotFoundError, ShardpipeError):
        raise
    except Exception as error:  # noqa: BLE001  each backend has its own errors (OSError, botocore's, aiohttp's)
        raise StoreError(f"{path} in {url}: {type(error).__name__}: {error}") from clean_cause(error)


@contextmanager
def write_errors(path: str, url: str) -> Iterator[None]:
    """As `backend_errors`; a missing bucket is an error of the store, not of the object."""
    try:
        with backend_errors(path, url):
            yield
    except FileNotFoundError as error:
        raise StoreError(f"cannot write {path} in {url}: {error}") from error


def _protocol(fs: Any) -> str:  # noqa: ANN401
    """The first name of a file system's protocol: `s3` of ("s3", "s3a")."""
    names: str | List[str] | tuple[str, ...] = fs.protocol
    return names if isinstance(names, str) else names[0]
