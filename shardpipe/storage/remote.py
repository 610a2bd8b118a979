"""A store on an fsspec file system.

Each request that fails for a while is made again, with growing random pauses. Nothing is written by `with fs.open(url, "wb")`:
a body that raises inside leaves a truncated object.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from tenacity import Retrying

from shardpipe.core.errors import ConfigError, IntegrityError, StoreError
from shardpipe.core.temporary import TRIES, patience
from shardpipe.storage.anyfs import AnyBackend, protocol_of
from shardpipe.storage.backend import Backend, TransientError, TriedError
from shardpipe.storage.disk import short_read
from shardpipe.storage.growing import GrowingFile, LocalFile
from shardpipe.storage.scratch import Scratch, ScratchSettings, remove_leftovers
from shardpipe.storage.store import RUN, TEMP, Entry, Honours, Upload, check_path, check_prefix, check_replaceable

T = TypeVar("T")
CONNECTIONS = 160
"""So many requests one process has in flight at most: with 20 ms each, 8000 a second, which is what it can take in; more are slower."""

READ_ONLY = frozenset({"http", "https"})
"""fsspec would send a POST. So are chains (`simplecache::s3://...`), whose caches are stale; others that cannot be written say so
themselves.
"""


class RemoteStore:
    """Objects of `backend` whose keys begin with `root`."""

    def __init__(
        self, backend: Backend, root: str, *, url: str, read_only: bool, scratch: ScratchSettings | None = None
    ) -> None:
        self.backend = backend
        self._root = root
        self._url = url
        self._read_only = read_only
        self._settings = scratch or ScratchSettings()
        self._scratch = Scratch(self._settings.base(), max_bytes=self._settings.max_bytes)
        if not read_only:
            remove_leftovers(self._scratch.base)

    def __reduce__(self) -> tuple[object, ...]:
        """Another process opens the same root anew: connections do not outlive a fork, and cannot be sent."""
        return _reopen, (self._url, self._read_only, self._settings)

    @property
    def url(self) -> str:
        """The root as it was given, without a closing slash."""
        return self._url

    def read(self, path: str) -> bytes:
        """See Store."""
        return self._tried(path, lambda: self.backend.get(self.key(path)))

    def read_range(self, path: str, start: int, length: int) -> bytes:
        """See Store."""
        if length == 0:
            return b""
        data = self._tried(path, lambda: self.backend.get_range(self.key(path), start, length))
        if len(data) != length:
            raise short_read(path, self._url, start, length, got=len(data))
        return data

    def size(self, path: str) -> int | None:
        """See Store."""
        head = self._tried(path, lambda: self.backend.head(self.key(path)))
        return None if head is None else head.size

    def age_s(self, path: str) -> float | None:
        """See Store."""
        head = self._tried(path, lambda: self.backend.head(self.key(path)))
        return None if head is None else head.age_s

    def list(self, prefix: str) -> dict[str, int]:
        """See Store."""
        return {path: entry.size for path, entry in self.entries(prefix).items()}

    def entries(self, prefix: str) -> dict[str, Entry]:
        """See Store."""
        prefix = check_prefix(prefix)
        folder = f"{self._root}/{prefix}/" if prefix else f"{self._root}/"
        found = self._tried(prefix, lambda: list(self.backend.list(folder)))
        start = len(self._root) + 1
        paths = sorted((key[start:], entry) for key, entry in found if key != folder and not key.endswith("/"))
        return {path: entry for path, entry in paths if TEMP not in path.split("/")}

    def create(self, path: str, data: bytes) -> bytes:
        """See Store. It looks first, which is all that helps where conditions are ignored; after a refusal or a lost reply,
        whatever is there is the result.
        """
        key = self._writable(path)
        if (there := self._read_if_there(path)) is not None:
            return there

        def once() -> bytes:
            try:
                self.backend.create(key, data)
            except (FileExistsError, TransientError):
                there = self._read_if_there(path)
                if there is None:
                    raise
                return there
            return data

        try:
            return self._tried(path, once)
        except (StoreError, FileNotFoundError, FileExistsError) as error:
            raise StoreError(f"cannot write {path} in {self._url}: {error}; nothing is there") from error

    def put_file(self, path: str, local: LocalFile) -> None:
        """See Store. Made again as long as nothing is there after an error: a reply may be lost, and the object whole."""
        key = self._writable(path)
        file = GrowingFile.whole(local)

        def once() -> int | None:
            if (there := self.size(path)) is None:
                try:
                    self.backend.put_file(key, file, if_absent=True)
                except (FileNotFoundError, FileExistsError, TransientError):
                    if (there := self.size(path)) is None:
                        raise
                else:
                    if (there := self.size(path)) is None:  # `gc` deleted it, or the store lost it
                        raise TransientError(f"{path} was put, and is gone")
            return there

        with self._write_errors(path):
            there = self._tried(path, once)
        if there != (num_bytes := file.wait()):
            raise IntegrityError(
                f"{path} in {self._url} has {there} bytes, and the file that was to be there has {num_bytes}: "
                "run `shardpipe verify`, and delete the object if it is the damaged one"
            )
        file.path.unlink(missing_ok=True)

    def replace(self, path: str, data: bytes) -> None:
        """See Store."""
        key = self._writable(check_replaceable(path))
        with self._write_errors(path):
            self._tried(path, lambda: self.backend.put(key, data))

    def overwrite(self, path: str, local: Path) -> None:
        """See Store."""
        key = self._writable(path)
        num_bytes = local.stat().st_size
        with self._write_errors(path):
            self._tried(path, lambda: self.backend.put_file(key, GrowingFile.whole(local), if_absent=False))
        if (there := self.size(path)) != num_bytes:
            raise StoreError(f"{path} in {self._url} has {there} bytes after {num_bytes} were put there: run it again")
        local.unlink(missing_ok=True)

    def delete(self, path: str) -> None:
        """See Store."""
        key = self._writable(path)
        self._tried(path, lambda: self.backend.delete(key))

    def uploads(self) -> Sequence[Upload]:
        """See Store."""
        found = self._tried("", lambda: self.backend.uploads(f"{self._root}/"))
        return [each._replace(path=each.path[len(self._root) + 1 :]) for each in found]

    def abort_upload(self, upload: Upload) -> None:
        """See Store."""
        key = self._writable(upload.path)
        self._tried(upload.path, lambda: self.backend.abort_upload(key, upload.id))

    @property
    def honours(self) -> Honours | None:
        """See Store."""
        return self.backend.honours

    def probe(self) -> Honours:
        """See Store."""
        if self.backend.honours is not None:
            return self.backend.honours
        from shardpipe.storage.probe import probe  # noqa: PLC0415  it imports S3's part

        return self._tried(f"{RUN}/probe", lambda: probe(self.backend, self._root, url=self._url))

    def local_path(self, path: str) -> Path | None:
        """See Store."""
        check_path(path)
        return None

    def scratch(self, num_bytes: int = 0, *, is_guess: bool = False, stopped: threading.Event | None = None) -> Path:
        """See Store."""
        return self._scratch.new(num_bytes, is_guess=is_guess, stopped=stopped)

    def key(self, path: str) -> str:
        """The backend's key of an object."""
        return f"{self._root}/{check_path(path)}"

    def _writable(self, path: str) -> str:
        key = self.key(path)
        if self._read_only:
            raise StoreError(f"{self._url} is open for reading only: {path} was not written")
        return key

    def _read_if_there(self, path: str) -> bytes | None:
        try:
            return self.read(path)
        except FileNotFoundError:
            return None

    def _tried(self, path: str, act: Callable[[], T]) -> T:
        """What `act` gives, which is tried again as long as its errors may pass; they name object and root in the end."""
        try:
            return Retrying(**patience(_passes, tries=TRIES))(act)
        except IntegrityError:
            raise
        except ConfigError as error:
            raise ConfigError(f"{self._url}: {error}") from error
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{path} in {self._url}: {error}") from error
        except TransientError as error:
            raise TriedError(f"{path} in {self._url}: {error}") from error
        except StoreError as error:
            raise StoreError(f"{path} in {self._url}: {error}") from error

    @contextmanager
    def _write_errors(self, path: str) -> Iterator[None]:
        """A missing bucket is an error of the store, not of the object."""
        try:
            yield
        except (FileNotFoundError, FileExistsError) as error:
            raise StoreError(f"cannot write {path} in {self._url}: {error}") from error


def open_remote(url: str, *, read_only: bool, scratch: ScratchSettings | None = None) -> RemoteStore:
    """The store at an fsspec URL; ConfigError for an unknown scheme, or one that is only read."""
    scheme, separator, rest = url.partition("://")
    url = f"{scheme}{separator}{rest.rstrip('/')}"
    try:
        fs, root = fsspec.core.url_to_fs(url, **_options(scheme))
    except (ValueError, ImportError) as error:
        raise ConfigError(f"root {url} cannot be opened: {error}") from error
    if not read_only and (scheme in READ_ONLY or "::" in url):
        raise ConfigError(f"cannot write to {url}: {scheme} is read only; copy what is there to a folder or a bucket")
    root = root.rstrip("/")
    return RemoteStore(_backend(fs, root), root, url=url, read_only=read_only, scratch=scratch)


def _backend(fs: Any, root: str) -> Backend:  # noqa: ANN401  fsspec is untyped
    if protocol_of(fs) == "s3":
        from shardpipe.storage.s3 import S3Backend  # noqa: PLC0415  half a second of imports

        return S3Backend(fs)
    return AnyBackend(fs, root)


def _options(scheme: str) -> dict[str, Any]:
    """The options for fsspec beside those of its own config: no cached listings, and for S3 a file system of our own."""
    options: dict[str, Any] = {"use_listings_cache": False}
    if scheme in ("s3", "s3a"):
        given = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
        options |= {"skip_instance_cache": True, "config_kwargs": {"max_pool_connections": CONNECTIONS, **given}}
    return options


def _passes(error: BaseException) -> bool:
    return isinstance(error, TransientError) and not isinstance(error, TriedError)


def _reopen(url: str, read_only: bool, scratch: ScratchSettings) -> RemoteStore:  # noqa: FBT001  pickle passes arguments by position
    return open_remote(url, read_only=read_only, scratch=scratch)
