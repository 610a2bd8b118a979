"""One shard as a tar by itself: its samples, without the Dataset around it."""

import io
import json
from dataclasses import dataclass
from typing import Any

from shardpipe.core.errors import ConfigError
from shardpipe.storage.store import Store, open_store
from shardpipe.storage.tar import read_members

BUFFER = 1 << 16


@dataclass(frozen=True)
class Sample:
    """One clip of a shard: members by extension to (first byte, number of bytes)."""

    key: str
    members: dict[str, tuple[int, int]]

    @property
    def num_bytes(self) -> int:
        """Bytes of all members."""
        return sum(size for _, size in self.members.values())


class Shard:
    """A tar at a path or URL, read by ranges; raises ConfigError if it is not there, IntegrityError if it is no tar."""

    def __init__(self, url: str) -> None:
        root, _, self._path = url.rpartition("/")
        self._url = url
        self._store = open_store(root or ".", read_only=True)
        self._size = self._store.size(self._path)
        if self._size is None:
            raise ConfigError(f"{url}: there is no such shard")

    def samples(self) -> list[Sample]:
        """Its clips in order."""
        found: dict[str, dict[str, tuple[int, int]]] = {}
        stream = io.BufferedReader(_Ranges(self._store, self._path, self._size or 0), BUFFER)
        for name, offset, size in read_members(stream):
            key, _, ext = name.partition(".")
            found.setdefault(key, {})[ext] = (offset, size)
        return [Sample(key, members) for key, members in found.items()]

    def sidecar(self, key: str) -> dict[str, Any]:
        """The sidecar of one clip, as it is in the tar; raises ConfigError if the clip or its json is not there."""
        sample = next((each for each in self.samples() if each.key == key), None)
        if sample is None:
            raise ConfigError(f"{self._url} has no clip {key!r}")
        if "json" not in sample.members:
            raise ConfigError(f"{self._url}: clip {key!r} has no json; it has: {', '.join(sample.members)}")
        offset, size = sample.members["json"]
        sidecar: dict[str, Any] = json.loads(self._store.read_range(self._path, offset, size))
        return sidecar


class _Ranges(io.RawIOBase):
    """An object of a store as a seekable stream."""

    def __init__(self, store: Store, path: str, size: int) -> None:
        self._store, self._path, self._size, self._at = store, path, size, 0
        self.name = path

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  any writable buffer
        view = memoryview(buffer).cast("B")
        length = max(0, min(len(view), self._size - self._at))
        if length:
            view[:length] = self._store.read_range(self._path, self._at, length)
        self._at += length
        return length
