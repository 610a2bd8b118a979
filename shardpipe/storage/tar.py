"""Tars of clips: a deterministic USTAR writer that hashes while it writes, and a reader of members that trusts nothing.

A tar of the same members is the same bytes everywhere: mtime, uid and gid 0, mode 0644, no owner names.
"""

import hashlib
import io
import os
import re
import struct
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import xxhash

from shardpipe.core.errors import IntegrityError, StoreError
from shardpipe.storage.disk import disk_errors

BLOCK = 512
END = bytes(2 * BLOCK)
MAX_SIZE = 8**11 - 1  # what eleven octal digits hold: 8 GiB
MAX_NAME = 100  # bytes of USTAR's name field
EXT = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*\Z")
NAME = re.compile(rf"(?P<key>[A-Za-z0-9_-]+)\.(?P<ext>{EXT.pattern})")
SMALL = 64 << 10  # a buffer below this waits for others; a larger one goes to the disk as it is, not copied
PENDING = 1 << 20
PIECE = 256 << 10  # what is hashed and written at once: it fits the cache of a core
DUE = 4 << 20  # so much written, and the disk is told to begin: a commit's fsync would else wait for the whole tar

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True)
class WrittenTar:
    """A finished tar: bytes, and sha256 in hex."""

    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class Packed:
    """Where a member's payload lies in its tar, and its XXH3 (128 bits, hex): a check that costs next to nothing."""

    offset: int
    size: int
    xxh128: str


class TarWriter:
    """Writes members `KEY.ext` to a new file at `path`, those of a key beside each other, each key once.

    Used as a context manager, an exception removes the file. stays: it will be on this disk for long, which is told to
    begin writing; what is put elsewhere and removed need never get there. grew: called with the number of bytes that are in the file.
    """

    def __init__(self, path: Path, *, stays: bool = True, grew: Callable[[int], None] | None = None) -> None:
        self.path = path
        self._stays, self._grew = stays, grew
        self._keys: set[str] = set()
        self._names: set[str] = set()  # of the current key
        self._key = ""
        self._offset = 0
        self._starts: list[int] = []
        self._sha256 = hashlib.sha256()
        with disk_errors(path.name, str(path.parent)):
            self._file = path.open("xb", buffering=0)
        self._pending = bytearray()
        self._buffer = bytearray(PIECE)
        self._written = self._begun = 0  # bytes of the file; those that the disk was told of

    @property
    def num_bytes(self) -> int:
        """Bytes so far, without the end mark."""
        return self._offset

    @property
    def num_samples(self) -> int:
        """Different keys so far."""
        return len(self._keys)

    @property
    def sample_offsets(self) -> list[int]:
        """The byte at which each sample's first header starts, and then the end of the last sample."""
        return [*self._starts, self._offset]

    def index(self) -> bytes:
        """The content of `.tar.idx`: `sample_offsets` as little-endian int64."""
        offsets = self.sample_offsets
        return struct.pack(f"<{len(offsets)}q", *offsets)

    def add(self, name: str, data: Buffer) -> tuple[int, int]:
        """Append a member; the offset and size of its payload in the tar."""
        view = memoryview(data).cast("B")
        self._start(name, len(view))
        with disk_errors(self.path.name, str(self.path.parent)):
            self._write(view)
            return self._finish(len(view))

    def add_file(self, name: str, file: Path) -> Packed:
        """Append a file's bytes as a member; StoreError if it changes meanwhile."""
        with disk_errors(self.path.name, str(self.path.parent)), file.open("rb", buffering=0) as source:
            part = self.add_range(name, source.fileno(), 0, os.fstat(source.fileno()).st_size)
            if os.pread(source.fileno(), 1, part.size):
                raise StoreError(f"{file} changed while it was packed as {name} into {self.path}: run again")
            return part

    def add_range(self, name: str, fd: int, start: int, size: int) -> Packed:
        """Append `size` bytes of an open file from `start` on; IntegrityError if it ends before.

        Bytes pass in pieces that stay in the CPU's cache while they are hashed and written, which costs half of doing
        each with the whole.
        """
        self._start(name, size)
        quick = xxhash.xxh3_128()
        with disk_errors(self.path.name, str(self.path.parent)):
            self._flush()
            for at in range(start, start + size, len(self._buffer)):
                view = memoryview(self._buffer)[: start + size - at]
                if os.preadv(fd, [view], at) != len(view):
                    raise IntegrityError(f"the file ends before byte {start + size}")
                quick.update(view)
                self._write(view)
            offset, _ = self._finish(size)
        return Packed(offset, size, quick.hexdigest())

    def add_pieces(self, name: str, size: int, pieces: Iterable[Buffer]) -> Packed:
        """Append a member of `size` bytes that comes in pieces, each done with when the next is asked for.

        IntegrityError if they are not so many. What the pieces raise passes through; the tar is of no use then.
        """
        self._start(name, size)
        quick, left = xxhash.xxh3_128(), size
        for piece in pieces:
            whole = memoryview(piece).cast("B")
            left -= len(whole)
            with disk_errors(self.path.name, str(self.path.parent)):
                for at in range(0, len(whole), PIECE):
                    view = whole[at : at + PIECE]
                    quick.update(view)
                    self._write(view)
        if left:
            raise IntegrityError(f"{name} came with {size - left} bytes instead of {size}")
        with disk_errors(self.path.name, str(self.path.parent)):
            offset, _ = self._finish(size)
        return Packed(offset, size, quick.hexdigest())

    def close(self, *, may_be_empty: bool = False) -> WrittenTar:
        """Write the end mark, and give the size and hashes of the whole file. A tar without members is refused."""
        if not self._keys and not may_be_empty:
            self.abort()
            raise ValueError(f"{self.path} has no members: readers refuse an empty tar, so write none")
        with disk_errors(self.path.name, str(self.path.parent)):
            self._write(END)
            self._flush()
            self._file.close()
        return WrittenTar(self._offset + len(END), self._sha256.hexdigest())

    def abort(self) -> None:
        """Give up: close and remove the file."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None or not self._file.closed:
            self.abort()

    def _start(self, name: str, size: int) -> None:
        """Check the name and write the member's header."""
        match = NAME.match(name)
        if not match or len(name) > MAX_NAME:
            raise ValueError(f"bad member name {name!r}: it must be KEY.ext of at most {MAX_NAME} characters")
        if size > MAX_SIZE:
            raise StoreError(
                f"{name} has {size} bytes, and a member of a USTAR tar at most {MAX_SIZE}: cut shorter clips"
            )
        key, ext = match["key"], match["ext"]
        if key != self._key:
            if key in self._keys:
                raise ValueError(f"key {key} comes twice in {self.path}: a sample's members must lie beside each other")
            self._keys.add(key)
            self._key, self._names = key, set()
            self._starts.append(self._offset)
        if ext in self._names:
            raise ValueError(f"member {name} comes twice in {self.path}")
        self._names.add(ext)
        with disk_errors(self.path.name, str(self.path.parent)):
            self._write(header(name, size))
        self._offset += BLOCK

    def _finish(self, size: int) -> tuple[int, int]:
        """Fill the last block; (offset, size) of the payload."""
        self._write(bytes(-size % BLOCK))
        at = self._offset
        self._offset += size + -size % BLOCK
        return at, size

    def _write(self, data: Buffer) -> None:
        """Append to the file and the hashes."""
        self._sha256.update(data)
        if len(data) >= SMALL:
            self._flush(data)
            return
        self._pending += data
        if len(self._pending) >= PENDING:
            self._flush()

    def _flush(self, data: Buffer = b"") -> None:
        """Write what waits, then `data`, in as few system calls as the disk takes."""
        left = [view for view in (memoryview(self._pending), memoryview(data)) if view]
        while left:
            written = os.writev(self._file.fileno(), left)
            self._written += written
            while left and written >= len(left[0]):
                written -= len(left.pop(0))
            if left:
                left[0] = left[0][written:]
        self._pending = bytearray()
        if self._grew is not None:
            self._grew(self._written)
        if self._stays and self._written - self._begun >= DUE and hasattr(os, "posix_fadvise"):
            # Linux begins to write back what was advised so, and keeps what is not on the disk yet
            os.posix_fadvise(self._file.fileno(), self._begun, self._written - self._begun, os.POSIX_FADV_DONTNEED)
            self._begun = self._written


def read_members(tar: bytes | BinaryIO) -> Iterator[tuple[str, int, int]]:
    """(name, payload offset, size) of each plain file of a tar (USTAR, GNU or pax), in order; one seekable stream.

    Raises IntegrityError where the tar is damaged, cut short (also between two members), or holds a sparse file.
    """
    stream = io.BytesIO(tar) if isinstance(tar, bytes) else tar
    num_bytes = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    name = str(getattr(stream, "name", "the tar"))
    try:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            while (member := archive.next()) is not None:
                if member.offset_data + (member.size if member.isreg() else 0) > num_bytes:
                    raise IntegrityError(f"{name} is cut short inside {member.name}: fetch or write it again")
                if member.issparse():
                    raise IntegrityError(f"{member.name} in {name} is stored sparse, which cannot be read in place")
                if member.isreg():
                    yield member.name, member.offset_data, member.size
            end = archive.offset
    except tarfile.TarError as error:
        raise IntegrityError(f"{name} is no tar, or a damaged one: {error}") from error
    stream.seek(end)
    _check_end(stream, name)


def _check_end(stream: BinaryIO, name: str) -> None:
    """The stdlib stops without a word at the end of the stream and at damaged headers; a whole tar ends in zeros."""
    mark = stream.read(BLOCK)
    if len(mark) < BLOCK or mark.strip(b"\0"):
        raise IntegrityError(f"{name} is damaged or cut short: its end mark is missing")


def header(name: str, size: int) -> bytes:
    """The 512 bytes before a member's payload, as POSIX.1-1988 lays them out."""
    head = struct.pack(
        "100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12x",
        name.encode("ascii"),
        b"0000644\0",
        b"0000000\0",
        b"0000000\0",
        b"%011o\0" % size,
        b"%011o\0" % 0,
        b" " * 8,
        b"0",
        b"",
        b"ustar\0",
        b"00",
        b"",
        b"",
        b"0000000\0",
        b"0000000\0",
        b"",
    )
    return head[:148] + b"%06o\0 " % sum(head) + head[156:]
