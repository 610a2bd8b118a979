"""A local file that one thread still writes while another puts what is there of it: bytes once written stay as they are.

TarWriter ─ grew ─▶ GrowingFile ─ wait ─▶ parts of a multipart upload, which is completed once the file has ended
"""

import threading
from pathlib import Path

from shardpipe.core.errors import IncompleteError


class GrowingFile:
    """`path` and how much of it is there. at_most: bytes that it will hardly exceed; None: not known.

    Who writes it calls `grew`, and in the end `end` or `give_up`, whatever happens: others wait for that.
    """

    def __init__(self, path: Path, *, at_most: int | None = None) -> None:
        self.path, self.at_most = path, at_most
        self._num_bytes = 0
        self._is_over = self._is_given_up = False
        self._changed = threading.Condition()

    @classmethod
    def whole(cls, local: "LocalFile") -> "GrowingFile":
        """A file that is there to its end, or `local` itself if it may grow."""
        if isinstance(local, GrowingFile):
            return local
        file = cls(local)
        file.end(local.stat().st_size)
        return file

    def grew(self, num_bytes: int) -> None:
        """So many bytes are there from now on."""
        with self._changed:
            self._num_bytes = num_bytes
            self._changed.notify_all()

    def end(self, num_bytes: int) -> None:
        """It is written, and has so many bytes."""
        with self._changed:
            self._num_bytes, self._is_over = num_bytes, True
            self._changed.notify_all()

    def give_up(self) -> None:
        """It will never be whole; no effect once it has ended."""
        with self._changed:
            self._is_given_up = not self._is_over
            self._changed.notify_all()

    @property
    def is_given_up(self) -> bool:
        """Whether it will never be whole."""
        return self._is_given_up

    def wait(self, num_bytes: int | None = None) -> int:
        """Until so many bytes are there (None: all), or it has ended: how many are. IncompleteError if it was given up."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_over or self._is_given_up or (num_bytes is not None and self._num_bytes >= num_bytes)
            )
            if self._is_given_up:
                raise IncompleteError(f"{self.path.name} was given up")
            return self._num_bytes


LocalFile = Path | GrowingFile
"""What a store puts: a file, or one that ends while it is put."""


def file_of(local: LocalFile) -> Path:
    """The path, once the file has ended."""
    if isinstance(local, GrowingFile):
        local.wait()
        return local.path
    return local
