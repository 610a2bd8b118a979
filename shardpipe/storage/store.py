"""Where Datasets lie: a small protocol over a local disk or a bucket, and `open_store`, which picks one by URL.

No object is ever replaced by other bytes: `create` and `put_file` leave what is there. An object is at its final
name whole or not at all, whatever kills the writer.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from shardpipe.core.errors import ConfigError, StoreError
from shardpipe.core.secrets import INSTEAD, secret_in
from shardpipe.storage.growing import LocalFile
from shardpipe.storage.scratch import ScratchSettings

TEMP = ".tmp"
"""The folder under a local root where files are built; never part of a listing."""

RUN = "_run"
"""The folder of heartbeats, timings and logs: the only one whose objects may be replaced."""


class Entry(NamedTuple):
    """What a listing says of an object: bytes, and a tag that is another one once the object was written again."""

    size: int
    version: str


class Upload(NamedTuple):
    """A multipart upload that was begun and neither completed nor aborted: nobody sees it, and it is billed."""

    path: str
    id: str
    age_s: float


@dataclass(frozen=True)
class Honours:
    """What a store keeps to: whether it creates an object only if it is absent, by one PUT and by completing a multipart
    upload, and whether a listing shows what was written before it.
    """

    conditional_put: bool = True
    conditional_complete: bool = True
    list_after_write: bool = True


class Store(Protocol):
    """Objects under one root. Paths are relative to it, `/`-separated, and checked by `check_path`.

    Reading a missing object raises FileNotFoundError; whatever else goes wrong raises StoreError.
    """

    @property
    def url(self) -> str:
        """The root: an absolute folder, or a URL."""

    def read(self, path: str) -> bytes:
        """The whole object."""

    def read_range(self, path: str, start: int, length: int) -> bytes:
        """`length` bytes from byte `start` on; IntegrityError if the object ends before."""

    def size(self, path: str) -> int | None:
        """Bytes of the object; None if it is absent."""

    def list(self, prefix: str) -> dict[str, int]:
        """All objects under the folder `prefix` ("" for all), recursively: path -> bytes, sorted, never cached."""

    def entries(self, prefix: str) -> dict[str, Entry]:
        """As `list`, with what tells that an object was written again."""

    def age_s(self, path: str) -> float | None:
        """Seconds since the object was last written, by the store's own clock; None if it is absent."""

    def create(self, path: str, data: bytes) -> bytes:
        """Make the object if it is absent, in one atomic step; the bytes that are there now, ours or another's."""

    def put_file(self, path: str, local: LocalFile) -> None:
        """Put a file under a name that determines its content, and consume it (it may be linked or moved).

        An object of the same size is left as it is; one of another size raises IntegrityError. Of a file that is still written
        parts may be sent before it ends; IncompleteError, and nothing is put, if it never does.
        """

    def replace(self, path: str, data: bytes) -> None:
        """Write or overwrite an object under `_run/`; refused elsewhere."""

    def overwrite(self, path: str, local: Path) -> None:
        """Put a file in place of a committed object, or where there is none, and consume it: `remove` alone may."""

    def delete(self, path: str) -> None:
        """Remove the object; absent is fine."""

    def uploads(self) -> Sequence[Upload]:
        """The multipart uploads under the root that are not over; none where there are no such things."""

    def abort_upload(self, upload: Upload) -> None:
        """Give up a multipart upload and free its parts; one that is over is fine."""

    @property
    def honours(self) -> Honours | None:
        """What this store keeps to, where that follows from what it is; None where it must be found out."""

    def probe(self) -> Honours:
        """`honours`, found out by a few requests under `_run/` if need be; ConfigError where nothing can be written."""

    def local_path(self, path: str) -> Path | None:
        """The object's file where the store is a local disk (it need not exist), else None."""

    def scratch(self, num_bytes: int = 0, *, is_guess: bool = False, stopped: threading.Event | None = None) -> Path:
        """A new empty folder on the right disk to build files for `put_file` in; the caller removes it when done.

        It waits until so many bytes are free under the limit of the ScratchSettings, and takes them until it is removed; raises
        StoreError where the limit is less. is_guess: then all of the limit will do; `scratch.grow` takes more. stopped: ends the wait,
        with IncompleteError.
        """


def open_store(url: str, *, read_only: bool = False, scratch: ScratchSettings | None = None) -> Store:
    """The store at a local folder or any fsspec URL. Nothing is made before the first write. scratch: where it builds files.

    Opening for writing removes what dead processes left in the scratch folder, and raises ConfigError for a url that is
    only read. One that carries a secret is a ConfigError too. A read-only store refuses writes with StoreError.
    """
    from shardpipe.storage.local import LocalStore  # noqa: PLC0415  they import this module
    from shardpipe.storage.remote import open_remote  # noqa: PLC0415

    if secret := secret_in(url):
        raise ConfigError(f"{url} carries {secret}, which every message and report would show: leave it out; {INSTEAD}")
    if url.startswith("file://") or ("://" not in url and "::" not in url):
        return LocalStore(
            Path(url.removeprefix("file://")).expanduser().absolute(), read_only=read_only, scratch=scratch
        )
    return open_remote(url, read_only=read_only, scratch=scratch)


def check_path(path: str) -> str:
    """`path`, if it is a safe relative object path; StoreError otherwise."""
    parts = path.split("/")
    if any(part in ("", ".", "..", TEMP) for part in parts):
        raise StoreError(f"bad object path {path!r}: it must be relative, without empty, '.', '..' or '{TEMP}' parts")
    if "\\" in path or not path.isprintable():
        raise StoreError(f"bad object path {path!r}: backslashes and unprintable characters are not allowed")
    return path


def check_prefix(prefix: str) -> str:
    """`prefix` without its closing slash, if it is a safe folder path or "" (the root)."""
    prefix = prefix.removesuffix("/")
    return check_path(prefix) if prefix else ""


def check_replaceable(path: str) -> str:
    """`path`, if its object may be overwritten: only those under `_run/` may."""
    if not check_path(path).startswith(f"{RUN}/"):
        raise StoreError(f"{path} is a committed object and is never replaced; only objects under {RUN}/ are")
    return path
