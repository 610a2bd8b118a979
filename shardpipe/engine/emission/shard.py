"""One shard as a tar by itself: its samples, without the Dataset around it."""

import json
from dataclasses import dataclass
from typing import Any

from shardpipe.core.errors import ConfigError
from shardpipe.storage.blanks import BLANK, members_in
from shardpipe.storage.store import open_store


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
        if self._store.size(self._path) is None:
            raise ConfigError(f"{url}: there is no such shard")

    def samples(self) -> list[Sample]:
        """Its clips in order."""
        found: dict[str, dict[str, tuple[int, int]]] = {}
        for name, offset, size in members_in(self._store, self._path):
            if name != BLANK:
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
