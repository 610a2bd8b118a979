"""The bytes of a shard's clips, in the order in which its tar takes them: from local files, or read ahead; all checked."""

from collections.abc import Sequence
from typing import Self

from shardpipe.core.errors import IntegrityError
from shardpipe.core.fingerprint import sha256_hex
from shardpipe.engine.emission.opentars import OpenTars
from shardpipe.engine.readahead import ReadAhead, Wanted
from shardpipe.storage.dataset import MADE, Row
from shardpipe.storage.members import MemberPlace
from shardpipe.storage.metered import MeteredStore
from shardpipe.storage.tar import Packed, TarWriter


class ShardMedia:
    """The mp4s of `rows`, and those of `members` that layers wrote. Ask in order: clip by clip, member by member."""

    def __init__(self, store: MeteredStore, rows: Sequence[Row], members: Sequence[str]) -> None:
        self._store = store
        self._rows = rows
        self._tars = OpenTars(store)
        self._ahead = ReadAhead(store)
        self._wanted: list[dict[str, Wanted]] = []
        for row in rows:
            found: dict[str, Wanted] = {}
            for ext in members:
                if ext == "mp4" and not self._tars.is_local(row["shard"]):
                    found[ext] = self._ahead.want(row["shard"], row["offset"], row["size"])
                elif ext not in MADE:
                    place: MemberPlace = row["members"][ext]
                    found[ext] = self._ahead.want(place.path, place.offset, place.size)
            self._wanted.append(found)
        self._ahead.go()

    def copy_clip(self, writer: TarWriter, i: int) -> Packed:
        """Append the mp4 of row `i`; IntegrityError, naming clip and object, if it is gone, cut short or another one."""
        row = self._rows[i]
        wanted = self._wanted[i].get("mp4")
        if wanted is None:
            self._store.count_read(row["size"])
            part = self._tars.copy(writer, row)
        else:
            try:
                part = writer.add_pieces(f"{row['key']}.mp4", row["size"], wanted.pieces())
            except (FileNotFoundError, IntegrityError) as error:
                raise self._unreadable(row, row["shard"], error) from None
        if part.xxh128 != row["xxh128"]:
            place = MemberPlace(row["shard"], row["offset"], row["size"], row["sha256"])
            raise self._other_bytes(row, place, "mp4", "xxh128")
        return part

    def member(self, i: int, ext: str) -> bytes:
        """A member that a layer wrote for row `i`; IntegrityError as `copy_clip`."""
        row = self._rows[i]
        place: MemberPlace = row["members"][ext]
        try:
            data = self._wanted[i][ext].read()
        except (FileNotFoundError, IntegrityError) as error:
            raise self._unreadable(row, place.path, error) from None
        if sha256_hex(data) != place.sha256:
            raise self._other_bytes(row, place, ext, "sha256")
        return data

    def _unreadable(self, row: Row, path: str, error: Exception) -> IntegrityError:
        reason = "it is gone" if isinstance(error, FileNotFoundError) else str(error)
        return IntegrityError(
            f"clip {row['key']} cannot be read from {self._store.url}/{path}: {reason}. Restore that object"
        )

    def _other_bytes(self, row: Row, place: MemberPlace, ext: str, check: str) -> IntegrityError:
        return IntegrityError(
            f"clip {row['key']}: bytes {place.offset} to {place.offset + place.size} of {self._store.url}/{place.path} are "
            f"not the {ext} that was committed (its {check} is not the row's). Restore that object; no shard is written "
            "with other bytes"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._ahead.close()
        self._tars.close()
