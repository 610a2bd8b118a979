"""What a RemoteStore asks of the file system that it lies on: single requests, each of which may fail and be made again."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from shardpipe.core.errors import StoreError
from shardpipe.storage.growing import GrowingFile
from shardpipe.storage.store import Entry, Honours, Upload


class TransientError(StoreError):
    """A request that may go well when it is made again: throttled, timed out, broken off, answered in part."""


class TriedError(TransientError):
    """One that was made as often as a request is made: who needs it for something larger does not begin that anew."""


class Head(NamedTuple):
    """What is known of an object without reading it. age_s: since it was written, by the store's clock; None: it has none."""

    size: int
    version: str
    age_s: float | None


class Backend(Protocol):
    """Objects by key. Errors: FileNotFoundError, FileExistsError (of a condition), TransientError, else StoreError."""

    protocol: str
    """fsspec's name of it."""

    honours: Honours | None
    """As Store has it."""

    can_create: bool
    """Whether it creates an object only if it is absent."""

    def get(self, key: str) -> bytes:
        """The whole object; TransientError where fewer bytes came than it has."""

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Its bytes from `start` on: `length`, or fewer if and only if it ends before."""

    def head(self, key: str) -> Head | None:
        """What it is; None if it is absent."""

    def list(self, prefix: str) -> Iterable[tuple[str, Entry]]:
        """All keys that begin so (a folder with its slash, or ""), in any order."""

    def create(self, key: str, data: bytes) -> None:
        """One PUT if the object is absent, never multipart; FileExistsError if it is there."""

    def put(self, key: str, data: bytes) -> None:
        """One PUT, whatever is there."""

    def put_file(self, key: str, file: GrowingFile, *, if_absent: bool) -> None:
        """A file of any size, seen whole or not at all. if_absent: FileExistsError where it is there and the store can tell.
        IncompleteError if it never ends.
        """

    def delete(self, key: str) -> None:
        """Remove it; absent is fine."""

    def uploads(self, prefix: str) -> Sequence[Upload]:
        """Multipart uploads that are not over; their paths are keys."""

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Abort one; one that is over is fine."""
