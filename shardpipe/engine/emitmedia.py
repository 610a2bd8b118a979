"""The samples of a shard: each clip's mp4, copied from where it lies and checked, and the members beside it."""

from collections.abc import Iterator, Sequence

import xxhash

from shardpipe.core.columns import Columns
from shardpipe.core.errors import IntegrityError
from shardpipe.core.fingerprint import sha256_hex
from shardpipe.engine.opentars import OpenTars
from shardpipe.engine.plansettings import PlanSettings
from shardpipe.engine.sidecar import sidecar
from shardpipe.storage.dataset import MADE, Row
from shardpipe.storage.members import MemberPlace
from shardpipe.storage.metered import MeteredStore
from shardpipe.storage.ranges import read_ranges
from shardpipe.storage.tar import Packed, TarWriter

READ_BYTES = 64 << 20
"""Media read ahead of the tar: clips of so many bytes at once, so that neighbours in a base tar share a read."""


class Samples:
    """Writes samples of clips, given by their folded rows."""

    def __init__(self, store: MeteredStore) -> None:
        self._store = store

    def write(
        self, writer: TarWriter, rows: Sequence[Row], settings: PlanSettings, columns: Columns
    ) -> dict[str, dict[str, MemberPlace]]:
        """Write all samples; where the members of each clip came to lie, by extension. columns: of the folded rows."""
        columns = settings.sidecar_columns(columns)
        places = {}
        with OpenTars(self._store) as tars:
            for row, media in zip(rows, self._media(rows, settings.members, tars), strict=True):
                place = {}
                for ext in settings.members:
                    name = f"{row['key']}.{ext}"
                    if ext == "mp4":
                        part = self._clip(writer, row, media.get(ext), tars)
                        place[ext] = MemberPlace(writer.path.name, part.offset, part.size, row["sha256"])
                        continue
                    data = made(ext, row, columns) if ext in MADE else media[ext]
                    place[ext] = MemberPlace(writer.path.name, *writer.add(name, data), sha256_hex(data))
                places[row["key"]] = place
        return places

    def _clip(self, writer: TarWriter, row: Row, data: memoryview | None, tars: OpenTars) -> Packed:
        """Copy a clip's mp4: straight from a local tar, or from `data` that was read; IntegrityError for other bytes."""
        if data is None:
            self._store.count_read(row["size"])
            part = tars.copy(writer, row)
        else:
            part = Packed(*writer.add(f"{row['key']}.mp4", data), xxhash.xxh3_128_hexdigest(data))
        if part.xxh128 != row["xxh128"]:
            raise IntegrityError(
                f"clip {row['key']}: bytes {row['offset']} to {row['offset'] + row['size']} of {self._store.url}/{row['shard']} "
                "are not the mp4 that was committed (its xxh128 is not the row's). Restore that object; no shard is "
                "written with other bytes"
            )
        return part

    def _media(self, rows: Sequence[Row], members: Sequence[str], tars: OpenTars) -> Iterator[dict[str, memoryview]]:
        """The layers' members of each clip, checked, in order, and its mp4 where no local file has it; in runs of READ_BYTES."""
        own = [ext for ext in members if ext not in MADE]
        for start, end in runs([row["size"] for row in rows], READ_BYTES):
            wanted: dict[str, list[tuple[int, str, MemberPlace]]] = {}
            for i in range(start, end):
                row = rows[i]
                places: dict[str, MemberPlace] = {ext: row["members"][ext] for ext in own}
                if not tars.is_local(row["shard"]):
                    places["mp4"] = MemberPlace(row["shard"], row["offset"], row["size"], row["sha256"])
                for ext, place in places.items():
                    wanted.setdefault(place.path, []).append((i, ext, place))
            found: list[dict[str, memoryview]] = [{} for _ in range(start, end)]
            for path, parts in wanted.items():
                for (i, ext, place), data in self._read(path, parts, rows):
                    if ext != "mp4" and sha256_hex(data) != place.sha256:
                        raise IntegrityError(
                            f"clip {rows[i]['key']}: bytes {place.offset} to {place.offset + place.size} of "
                            f"{self._store.url}/{path} are not the {ext} that was committed (its sha256 is not the "
                            "row's). Restore that object; no shard is written with other bytes"
                        )
                    found[i - start][ext] = data
            yield from found

    def _read(
        self, path: str, parts: Sequence[tuple[int, str, MemberPlace]], rows: Sequence[Row]
    ) -> Iterator[tuple[tuple[int, str, MemberPlace], memoryview]]:
        """Parts of one tar, each with its bytes: the clip's place in the shard, extension, and where it lies."""
        try:
            for j, data in read_ranges(self._store, path, [(place.offset, place.size) for _, _, place in parts]):
                yield parts[j], data
        except (FileNotFoundError, IntegrityError) as error:
            reason = "it is gone" if isinstance(error, FileNotFoundError) else str(error)
            raise IntegrityError(
                f"clip {rows[parts[0][0]]['key']} (or one after it) cannot be read from "
                f"{self._store.url}/{path}: {reason}. Restore that object"
            ) from None


def made(ext: str, row: Row, columns: Columns) -> bytes:
    """A member that emit makes itself: the sidecar, or the text alone."""
    return sidecar(row, columns) if ext == "json" else str(row["text"]).encode()


def runs(sizes: Sequence[int], max_bytes: int) -> Iterator[tuple[int, int]]:
    """Consecutive parts [start, end) of `sizes` whose sum is at most `max_bytes`, or that are one item."""
    start = total = 0
    for i, size in enumerate(sizes):
        if i > start and total + size > max_bytes:
            yield start, i
            start, total = i, 0
        total += size
    if start < len(sizes):
        yield start, len(sizes)
