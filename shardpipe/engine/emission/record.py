"""The record of an emitted shard: a row a clip, as a base layer has it, with the places of its members in the tar."""

from collections.abc import Mapping, Sequence
from typing import Any

from shardpipe.core.clip import LOCATION, STATE
from shardpipe.core.columns import Columns
from shardpipe.storage.dataset import Row
from shardpipe.storage.members import MemberPlace, member_columns, member_values


def shard_name(name: str, unit: str) -> str:
    """A shard's tar, relative to its Dataset."""
    return f"shards/{name}-{unit}.tar"


def record_columns(columns: Columns, others: Sequence[str]) -> Columns:
    """The schema of a record: a base layer's, and the places of the members other than mp4."""
    return {**columns, **STATE, **LOCATION, **member_columns(others)}


def record_row(row: Row, tar: str, places: Mapping[str, MemberPlace], columns: Columns) -> dict[str, Any]:
    """A clip's row in the record: its folded columns, and where its members lie now."""
    found: dict[str, Any] = {name: row[name] for name in columns}
    found |= {name: row[name] for name in STATE}
    for ext, place in places.items():
        if ext == "mp4":
            found |= {"shard": tar, "offset": place.offset, "size": place.size, "xxh128": row["xxh128"]}
        else:
            found |= member_values(ext, (place.offset, place.size), place.sha256)
    return found
