"""The members of a tar as its bytes stream by, once and in order: for tars that are too large to keep."""

import tarfile
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from shardpipe.core.errors import IntegrityError
from shardpipe.storage.tar import BLOCK, Buffer


class Streamed(NamedTuple):
    """A member: its name, and where its payload lies."""

    name: str
    offset: int
    size: int


def stream_members(chunks: Iterable[Buffer]) -> Iterator[tuple[Streamed, memoryview]]:
    """Each member with the pieces of its payload, in order: at least one piece a member, which may be empty.

    Raises IntegrityError where a tar is not as TarWriter makes them: plain files one after the other, then two blocks of
    zeros and nothing more.
    """
    stream = _Stream(chunks)
    while (head := stream.exactly(BLOCK)).strip(b"\0"):
        member = _member(head, stream.at)
        left = member.size
        for piece in stream.pieces(left):
            left -= len(piece)
            yield member, piece
        if left:
            raise IntegrityError(f"it is cut short inside {member.name}")
        if not member.size:
            yield member, memoryview(b"")
        if stream.exactly(-member.size % BLOCK).strip(b"\0"):
            raise IntegrityError(f"there are bytes between {member.name} and what follows it")
    if stream.exactly(2 * BLOCK) != bytes(BLOCK):
        raise IntegrityError("its end mark is missing, or something follows it")


def _member(head: bytes, offset: int) -> Streamed:
    """What a header says."""
    try:
        info = tarfile.TarInfo.frombuf(head, "ascii", "strict")
    except (tarfile.HeaderError, ValueError) as error:
        raise IntegrityError(f"its header before byte {offset} is damaged: {error}") from error
    if not info.isreg():
        raise IntegrityError(f"{info.name} in it is no plain file")
    return Streamed(info.name, offset, info.size)


class _Stream:
    """Chunks as one sequence of bytes; `at` is the number of those taken."""

    def __init__(self, chunks: Iterable[Buffer]) -> None:
        self._chunks = iter(chunks)
        self._view = memoryview(b"")
        self.at = 0

    def pieces(self, size: int) -> Iterator[memoryview]:
        """The next `size` bytes in pieces; fewer at the end."""
        while size:
            if not self._view:
                chunk = next(self._chunks, None)
                if chunk is None:
                    return
                self._view = memoryview(chunk)
            piece, self._view = self._view[:size], self._view[size:]
            size -= len(piece)
            self.at += len(piece)
            if piece:
                yield piece

    def exactly(self, size: int) -> bytes:
        """The next `size` bytes as one; fewer at the end."""
        return b"".join(self.pieces(size))
