"""A store whose objects lie in one file, with little memory an object: for roots of many objects, made once and opened often."""

import os
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shardpipe.storage.disk import pread
from shardpipe.storage.growing import LocalFile, file_of
from shardpipe.storage.store import Entry, Honours, Upload

if TYPE_CHECKING:
    from builtins import list as List  # noqa: N812  a method hides `list` inside the class


class Packer:
    """Puts objects one behind the other, then their places beside them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._places: dict[str, tuple[int, int]] = {}
        self._end = 0

    def add(self, path: str, data: bytes) -> None:
        """One object."""
        self._file.write(data)
        self._places[path] = (self._end, len(data))
        self._end += len(data)

    def close(self) -> None:
        """All are there."""
        self._file.close()
        names = sorted(self._places)
        places = np.array([self._places[name] for name in names], np.int64)
        np.savez(self._path.with_suffix(".npz"), names=np.array([name.encode() for name in names]), places=places)


class PackedStore:
    """Objects of a pack, less those in `without`; what is written since lies in memory, and in the folder `over` for the next one."""

    url = "packed://root"
    honours = Honours()

    def __init__(self, path: Path, over: Path, *, without: Sequence[str] = ()) -> None:
        with np.load(path.with_suffix(".npz")) as index:
            self._names, self._places = index["names"], index["places"]
        self._fd = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._fd)
        self._written: dict[str, bytes | None] = dict.fromkeys(without)
        self._versions: dict[str, int] = {}
        self._over = over
        for file in (each for each in over.rglob("*") if each.is_file()):
            self._put(str(file.relative_to(over)), file.read_bytes())

    def _put(self, path: str, data: bytes) -> None:
        self._written[path] = data
        self._versions[path] = self._versions.get(path, 0) + 1

    def _place(self, path: str) -> tuple[int, int]:
        i = int(np.searchsorted(self._names, path.encode()))
        if path in self._written or i == len(self._names) or self._names[i] != path.encode():
            raise FileNotFoundError(path)
        return int(self._places[i, 0]), int(self._places[i, 1])

    def read(self, path: str) -> bytes:
        written = self._written.get(path)
        if written is not None:
            return written
        start, length = self._place(path)
        return pread(self._fd, start, length)

    def read_range(self, path: str, start: int, length: int) -> bytes:
        return self.read(path)[start : start + length]

    def size(self, path: str) -> int | None:
        try:
            return len(self.read(path))
        except FileNotFoundError:
            return None

    def list(self, prefix: str) -> dict[str, int]:
        return {path: entry.size for path, entry in self.entries(prefix).items()}

    def entries(self, prefix: str) -> dict[str, Entry]:
        start = f"{prefix}/" if prefix else ""
        first, last = np.searchsorted(self._names, [start.encode(), start[:-1].encode() + b"0" if start else b"~"])
        found = {}
        for name, (place, size) in zip(
            self._names[first:last].tolist(), self._places[first:last].tolist(), strict=True
        ):
            if (path := name.decode()) not in self._written:
                found[path] = Entry(size, f"{place}")
        for path, data in self._written.items():
            if data is not None and path.startswith(start):
                found[path] = Entry(len(data), f"new{self._versions[path]}")
        return dict(sorted(found.items()))

    def create(self, path: str, data: bytes) -> bytes:
        if self.size(path) is None:
            self.replace(path, data)
        return self.read(path)

    def replace(self, path: str, data: bytes) -> None:
        self._put(path, data)
        (self._over / path).parent.mkdir(parents=True, exist_ok=True)
        (self._over / path).write_bytes(data)

    def delete(self, path: str) -> None:
        self._written[path] = None

    def put_file(self, path: str, local: LocalFile) -> None:
        self.create(path, file_of(local).read_bytes())

    def overwrite(self, path: str, local: Path) -> None:
        self.replace(path, local.read_bytes())

    def age_s(self, path: str) -> float | None:
        return None if self.size(path) is None else 0.0

    def uploads(self) -> "List[Upload]":
        return []

    def abort_upload(self, upload: Upload) -> None:
        raise AssertionError(f"there is no upload {upload}")

    def probe(self) -> Honours:
        return self.honours

    def local_path(self, path: str) -> Path | None:
        return None

    def scratch(self) -> Path:
        return Path(tempfile.mkdtemp())
