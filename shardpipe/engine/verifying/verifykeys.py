"""Whether a key comes twice in a Dataset, in eight bytes a clip: millions of texts would take gigabytes."""

from collections.abc import Iterator, Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

from shardpipe.storage.rows import decode_table
from shardpipe.storage.store import Store


class Keys:
    """The keys of each unit's newest rows, as hashes; texts are read again where two hashes are the same."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._noted: dict[str, NDArray[np.uint64]] = {}
        self._paths: dict[str, str] = {}

    def note(self, path: str, keys: Sequence[str]) -> None:
        """The keys of a rows object; from any thread."""
        self._noted[path] = np.array([xxhash.xxh3_64_intdigest(key.encode()) for key in keys], np.uint64)

    def put(self, unit: str, path: str) -> None:
        """The object at `path`, whose keys were noted, has the unit's newest rows so far."""
        if unit in self._paths:
            self._noted.pop(self._paths[unit], None)
        self._paths[unit] = path

    def twice(self) -> Iterator[tuple[str, str]]:
        """Each object that has a key of an earlier one, with the first such key."""
        paths = list(self._paths.values())
        if not paths:
            return
        hashes = np.concatenate([self._noted[path] for path in paths])
        owners = np.repeat(np.arange(len(paths)), [len(self._noted[path]) for path in paths])
        order = np.argsort(hashes, kind="stable")
        same = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
        pairs = {(int(owners[order[i]]), int(owners[order[i + 1]])) for i in same}
        told = set()
        for first, second in sorted(pairs):
            if (
                first != second
                and second not in told
                and (both := self._keys(paths[first]) & self._keys(paths[second]))
            ):
                told.add(second)
                yield paths[second], min(both)

    def _keys(self, path: str) -> set[str]:
        table, _ = decode_table(self._store.read(path), f"{self._store.url}/{path}")
        return set(table.column("key").to_pylist())
