"""Taking clips out of a tar in place: their members become zeros under a name that loaders skip, and nothing else moves.

    before  KEY.json ─ data ─ KEY.mp4 ─ data ─ OTHER.json ...
    after   __removed__ ─ 0 ─ __removed__ ─ 0 ─ OTHER.json ...     the same size, the same place of every other byte

The object is replaced in one atomic step, so a tar's header tells whether its data is gone too.
"""

import io
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from shardpipe.storage.removed import Removed
from shardpipe.storage.store import Store
from shardpipe.storage.tar import BLOCK, header, read_members

BLANK = "__removed__"
"""webdataset and Energon skip names of this form, Hugging Face's reader those without a dot."""

PIECE = 8 << 20
BUFFER = 1 << 16


def blank(store: Store, path: str, removed: Removed) -> bool:
    """Take all removed clips out of a tar; whether it had any. What is removed meanwhile goes too: no other bytes come back."""
    changed, version = False, -1
    while version != removed.version:
        version = removed.version
        if _blank_once(store, path, removed):
            changed = True
            removed.refresh()
    return changed


def _blank_once(store: Store, path: str, removed: Removed) -> bool:
    folder = store.scratch(store.size(path) or 0, is_guess=True)
    try:
        local = folder / "blanked.tar"
        fetch(store, path, local)
        with local.open("r+b") as file:
            found = removed_members(list(read_members(file)), removed)
            for offset, size in found:
                file.seek(offset - BLOCK)
                file.write(header(BLANK, size))
                for start in range(0, size, PIECE):
                    file.write(bytes(min(PIECE, size - start)))
        if found:
            store.overwrite(path, local)
        return bool(found)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def removed_members(members: Iterable[tuple[str, int, int]], removed: Removed) -> list[tuple[int, int]]:
    """(first byte, size) of those members of a tar that are of removed clips and still there."""
    return [(offset, size) for name, offset, size in members if removed.has(name.partition(".")[0])]


def is_blank(store: Store, path: str, offsets: Sequence[int]) -> bool:
    """Whether the members whose data begins at these bytes of a tar are gone: their headers tell."""
    wanted = BLANK.encode() + b"\0"
    return all(store.read_range(path, offset - BLOCK, len(wanted)) == wanted for offset in offsets)


def members_in(store: Store, path: str) -> Iterator[tuple[str, int, int]]:
    """As `read_members`, of a tar in the store: only headers are read. FileNotFoundError if it is not there."""
    size = store.size(path)
    if size is None:
        raise FileNotFoundError(path)
    yield from read_members(io.BufferedReader(ObjectStream(store, path, size), BUFFER))


def fetch(store: Store, path: str, local: Path) -> None:
    """Copy an object to a file; FileNotFoundError if it is not there."""
    size = store.size(path)
    if size is None:
        raise FileNotFoundError(path)
    with local.open("wb") as file:
        for start in range(0, size, PIECE):
            file.write(store.read_range(path, start, min(PIECE, size - start)))


class ObjectStream(io.RawIOBase):
    """An object of a store as a seekable stream."""

    def __init__(self, store: Store, path: str, size: int) -> None:
        self._store, self._path, self._size, self._at = store, path, size, 0
        self.name = path

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As io says."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """As io says."""
        return self._at

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  any writable buffer
        """As io says."""
        view = memoryview(buffer).cast("B")
        length = max(0, min(len(view), self._size - self._at))
        if length:
            view[:length] = self._store.read_range(self._path, self._at, length)
        self._at += length
        return length
