"""Takedowns when a root is copied: the batches of removed clips go first, and no tar that still holds one of them is sent.

ROOT/removed.parquet, removed.0001.parquet, ...    columns key, source; each created once, after the one before it
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from shardpipe.core.errors import ConfigError
from shardpipe.engine.belongings import Tar
from shardpipe.storage.layers import MEMBER_OFFSET
from shardpipe.storage.rows import decode_rows, decode_table
from shardpipe.storage.store import Store


@dataclass(frozen=True)
class Removals:
    """The batches of removed clips of a root, and the keys of all of them."""

    batches: tuple[bytes, ...]
    keys: frozenset[str]

    @staticmethod
    def between(source: Store, destination: Store) -> "Removals":
        """Those of the source; ConfigError where clips were removed at the destination that it may still hold."""
        own = Removals.at(source)
        if more := sorted(Removals.at(destination).keys - own.keys):
            raise ConfigError(
                f"{len(more):,} clips were removed at {destination.url}, and not at {source.url} (the first: {more[0]}): a copy "
                "would bring them back. Remove them at the source too, with the same `shardpipe remove`"
            )
        return own

    @staticmethod
    def at(store: Store) -> "Removals":
        """Those of a root."""
        batches = tuple(_batches(store))
        tables = [decode_table(data, store.url, only={"key"})[0] for data in batches]
        return Removals(batches, frozenset(key for table in tables for key in table.column("key").to_pylist()))

    def send(self, destination: Store) -> None:
        """Make them known at another root."""
        there = list(_batches(destination))
        for data in self.batches:
            if data not in there:
                for i in count(len(there)):  # another's batch may come to be there meanwhile
                    there.append(destination.create(removed_path(i), data))
                    if there[-1] == data:
                        break

    def of(self, store: Store, rows: str) -> frozenset[str]:
        """Those among the clips of a rows object."""
        if not self.keys:
            return frozenset()
        table, _ = decode_rows(store.read(rows), f"{store.url}/{rows}", only={"key"})
        return self.keys & {*table.column("key").to_pylist()}


def removed_path(number: int) -> str:
    """Where a batch of removed clips lies."""
    return f"removed.{number:04d}.parquet" if number else "removed.parquet"


def holds_removed(store: Store, tar: Tar, file: Path, removals: Removals, *, is_as_written: bool) -> str | None:
    """What is wrong with a tar of which clips were removed, and of which `file` is a copy; None where just these are blank."""
    rows = decode_rows(store.read(tar.by), f"{store.url}/{tar.by}")[0].to_pylist()
    with file.open("rb") as opened:
        for row in rows:
            for offset, size, sha256 in _places(row, tar):
                opened.seek(offset)
                is_there = hashlib.sha256(opened.read(size)).hexdigest() == sha256
                if row["key"] in removals.keys and (is_there or is_as_written):
                    return f"still holds clip {row['key']}, which was removed: run the same `shardpipe remove` again"
                if row["key"] not in removals.keys and not is_there:
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


def _batches(store: Store) -> Iterator[bytes]:
    for i in count():
        try:
            yield store.read(removed_path(i))
        except FileNotFoundError:
            return
