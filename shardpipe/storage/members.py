"""Where a clip's members lie, those other than its mp4: three columns each in the rows, and a checked read."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from shardpipe.core.columns import Columns, int64, string
from shardpipe.core.errors import IntegrityError
from shardpipe.core.fingerprint import sha256_hex
from shardpipe.storage.store import Store

MAX_BETWEEN = 64 << 10
"""So many bytes between two members are rather read over than asked around."""

PARTS: Columns = {"offset": int64, "size": int64, "sha256": string}


class MemberPlace(NamedTuple):
    """A member's bytes: the tar's path relative to the root, first byte, number of bytes, sha256."""

    path: str
    offset: int
    size: int
    sha256: str


def member_columns(names: Iterable[str]) -> Columns:
    """The columns that say where these members lie."""
    return {f"member_{name}_{part}": kind for name in names for part, kind in PARTS.items()}


def member_values(name: str, place: tuple[int, int], sha256: str) -> dict[str, Any]:
    """The values of one member's columns; `place` is (first byte, number of bytes)."""
    return {f"member_{name}_offset": place[0], f"member_{name}_size": place[1], f"member_{name}_sha256": sha256}


def read_member(store: Store, place: MemberPlace) -> bytes:
    """The member's bytes; IntegrityError if they are not those that were written."""
    return _checked(store, place, store.read_range(place.path, place.offset, place.size))


def member_runs(places: Sequence[MemberPlace]) -> list[list[MemberPlace]]:
    """`places` in order of tar and offset, parted where too much lies between two of them."""
    runs: list[list[MemberPlace]] = []
    for place in sorted(set(places)):
        last = runs[-1][-1] if runs else None
        if last is not None and last.path == place.path and place.offset - last.offset - last.size <= MAX_BETWEEN:
            runs[-1].append(place)
        else:
            runs.append([place])
    return runs


def run_bytes(run: Sequence[MemberPlace]) -> int:
    """The bytes from the first member's first to the last one's last."""
    return run[-1].offset + run[-1].size - run[0].offset


def members_of_runs(
    store: Store, runs: Sequence[Sequence[MemberPlace]], blobs: Sequence[bytes]
) -> dict[MemberPlace, bytes]:
    """The members of each run out of its bytes. Raises IntegrityError."""
    found: dict[MemberPlace, bytes] = {}
    for run, data in zip(runs, blobs, strict=True):
        for place in run:
            at = place.offset - run[0].offset
            found[place] = _checked(store, place, data[at : at + place.size])
    return found


def _checked(store: Store, place: MemberPlace, data: bytes) -> bytes:
    if sha256_hex(data) != place.sha256:
        raise IntegrityError(
            f"{store.url}/{place.path}: bytes {place.offset} to {place.offset + place.size} are not the member that its "
            "rows name (another sha256): restore that object"
        )
    return data
