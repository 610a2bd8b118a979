"""Takedowns when a root is copied: the batches of removed clips go first, and no tar that still holds one of them is sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shardpipe.core.errors import ConfigError
from shardpipe.engine.upkeep.belongings import Tar
from shardpipe.engine.verifying.crew import Crew
from shardpipe.engine.verifying.findings import Findings
from shardpipe.engine.verifying.verifyrows import clip_members
from shardpipe.engine.verifying.verifytar import Expected, TarCheck
from shardpipe.storage.layers import MEMBER_OFFSET, DatasetInfo
from shardpipe.storage.members import PARTS
from shardpipe.storage.removed import Removed
from shardpipe.storage.rows import decode_rows
from shardpipe.storage.store import Store


@dataclass(frozen=True)
class Removals:
    """The list of removed clips of a root that is copied. version: its version when it was read."""

    removed: Removed
    version: int

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
        return Removals(own, own.version)

    def send(self, destination: Store) -> None:
        """Make them known at another root, batch by batch."""
        there = Removed(destination)
        for batch in self.removed.batches:
            if missing := set(batch.entries) - there.entries:
                there.append(missing)

    def is_as_sent(self) -> bool:
        """Whether the list of the source has not grown since it was read."""
        self.removed.refresh()
        return self.removed.version == self.version

    def of(self, store: Store, rows: str) -> frozenset[str]:
        """Those among the clips of a rows object."""
        if not self.removed:
            return frozenset()
        table, _ = decode_rows(store.read(rows), f"{store.url}/{rows}", only={"key"})
        return frozenset(self.removed.of(table.column("key").to_pylist()))


def damage_of_tar(
    store: Store, tar: Tar, copy: Store, removals: Removals, info: DatasetInfo | None, *, is_as_written: bool
) -> str | None:
    """What is wrong with a tar of clips of which some were removed; None where just these are blank, and nothing else is changed.

    copy: has what is to be sent, under the tar's path. is_as_written: whether its sha256 is the one that rows name. info: of its Dataset.
    """
    rows = decode_rows(store.read(tar.by), f"{store.url}/{tar.by}")[0].to_pylist()
    gone = [row["key"] for row in rows if removals.removed.has(row["key"]) and _has_place(row, tar)]
    if is_as_written:
        return f"still holds clip {gone[0]}, which was removed: run `shardpipe remove {store.url}`" if gone else None
    if not gone or info is None:
        return f"is damaged: its sha256 is not the one that {tar.by} names"
    if tar.by.startswith(f"{info.name}/emit/"):
        return f"is not made again without clip {gone[0]} yet, which was removed: run `shardpipe remove {store.url}`"
    findings = Findings(copy, {tar.path: tar.ref.num_bytes}, removed=removals.removed)
    with Crew(copy, lambda _: None) as crew:
        TarCheck(crew, deep=False).check(findings, tar.path, tar.ref, _members(rows, tar, info), by=tar.by)
    return next((problem.text for problem in findings.problems), None)


def _has_place(row: dict[str, Any], tar: Tar) -> bool:
    """Whether something of a clip lies in a tar."""
    if row.get("shard") is not None:
        return bool(row["shard"] == tar.ref.name)
    return any(row[name] is not None for name in row if MEMBER_OFFSET.match(name))


def _members(rows: Sequence[dict[str, Any]], tar: Tar, info: DatasetInfo) -> list[Expected]:
    """What rows say of the members of a tar of clips, or of members, in the order of their places."""
    if info.kind == "cut":
        return clip_members([row for row in rows if row["shard"] == tar.ref.name], info.typed_columns)
    found = []
    for row in rows:
        for name, ext in info.members.items():
            offset, size, sha256 = (row[f"member_{name}_{part}"] for part in PARTS)
            if offset is not None:
                found.append(Expected(f"{row['key']}.{ext}", offset, size, sha256))
    return sorted(found, key=lambda member: member.offset or 0)
