"""Takedowns when a root is copied: the batches of removed clips go first, and no tar that still holds one of them is sent."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardpipe.core.errors import ConfigError
from shardpipe.engine.upkeep.belongings import Tar
from shardpipe.storage.layers import MEMBER_OFFSET
from shardpipe.storage.removed import Removed
from shardpipe.storage.rows import decode_rows
from shardpipe.storage.store import Store


@dataclass(frozen=True)
class Removals:
    """The list of removed clips of a root that is copied."""

    removed: Removed

    @staticmethod
    def between(source: Store, destination: Store) -> "Removals":
        """That of the source; ConfigError where clips were removed at the destination that it may still hold."""
        own = Removed(source)
        there = Removed(destination)
        if more := [*sorted(key for key in there.keys if not own.has(key)), *sorted(there.sources - own.sources)]:
            raise ConfigError(
                f"{len(more):,} clips were removed at {destination.url}, and not at {source.url} (the first: {more[0]}): a copy "
                "would bring them back. Remove them at the source too, with the same `shardpipe remove`"
            )
        return Removals(own)

    def send(self, destination: Store) -> None:
        """Make them known at another root, batch by batch."""
        there = Removed(destination)
        for batch in self.removed.batches:
            if missing := set(batch.entries) - there.entries:
                there.append(missing)

    def of(self, store: Store, rows: str) -> frozenset[str]:
        """Those among the clips of a rows object."""
        if not self.removed:
            return frozenset()
        table, _ = decode_rows(store.read(rows), f"{store.url}/{rows}", only={"key"})
        return frozenset(self.removed.of(table.column("key").to_pylist()))


def holds_removed(store: Store, tar: Tar, file: Path, removals: Removals, *, is_as_written: bool) -> str | None:
    """What is wrong with a tar of which clips were removed, and of which `file` is a copy; None where just these are blank."""
    rows = decode_rows(store.read(tar.by), f"{store.url}/{tar.by}")[0].to_pylist()
    with file.open("rb") as opened:
        for row in rows:
            for offset, size, sha256 in _places(row, tar):
                opened.seek(offset)
                is_there = hashlib.sha256(opened.read(size)).hexdigest() == sha256
                is_removed = removals.removed.has(row["key"])
                if is_removed and (is_there or is_as_written):
                    return f"still holds clip {row['key']}, which was removed: run `shardpipe remove {store.url}`"
                if not is_removed and not is_there:
                    return f"is damaged: what it has of clip {row['key']} is not what {tar.by} says"
    return None


def _places(row: dict[str, Any], tar: Tar) -> Iterator[tuple[int, int, str]]:
    """Where a clip lies in a tar: first byte, number of bytes, sha256; of its members where the tar is one of members."""
    if row.get("shard") == tar.ref.name:
        yield row["offset"], row["size"], row["sha256"]
    if row.get("shard") in (None, tar.ref.name):
        for match in filter(None, map(MEMBER_OFFSET.match, row)):
            if (offset := row[match[0]]) is not None:
                yield offset, row[f"member_{match[1]}_size"], row[f"member_{match[1]}_sha256"]
