"""The commit protocol of a unit: it is done if, and only if, its rows exist.

    worker A                       store                          worker B (twin, zombie or thief)
    puts 000012-3fa9c1d2e07b.tar ─▶ shards/
    create rows/000012.parquet ──▶ absent: A's rows are there
                                   present ◀───────────────────── create rows/000012.parquet
                                   A's bytes ───────────────────▶ B takes A's result for its own, deletes nothing

A tar's name ends in its hash, and rows name their tar: so whoever wins, rows and tar agree. A retry writes the next
generation, `rows/000012.1.parquet`, whole, after a tar `000012.1-8d0f4b7c21aa.tar`; the highest counts. A tar that no rows
name is needed by nobody once the rows of its unit and generation are there: whoever would still name it comes too late.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from shardpipe.core.errors import IntegrityError
from shardpipe.storage.rows import RowsMeta, decode_meta
from shardpipe.storage.store import Store

UNIT = re.compile(r"[A-Za-z0-9_-]+\Z")
NUMBERED = re.compile(r"[0-9]{4,}\.parquet\Z")
GENERATION = r"\.(?P<generation>[1-9][0-9]*)"
NAME = re.compile(rf"(?P<unit>[A-Za-z0-9_-]+)({GENERATION})?\.parquet\Z")
TAR = re.compile(rf"(?P<unit>[A-Za-z0-9_-]+)({GENERATION})?-(?P<sha256>[0-9a-f]{{12}})\.tar\Z")


class TarName(NamedTuple):
    """What a tar's name says: unit (or slice), generation of its rows, the first 12 hex of its sha256."""

    unit: str
    generation: int
    sha256: str

    @staticmethod
    def parse(path: str) -> "TarName | None":
        """The last part of a path as a tar's name; None if it is none."""
        match = TAR.match(path.rsplit("/", 1)[-1])
        return TarName(match["unit"], int(match["generation"] or 0), match["sha256"]) if match else None


def tar_name(folder: str, unit: str, generation: int, sha256: str) -> str:
    """Where the tar of a unit lies that rows of this generation name, relative to the Dataset; `folder`: shards or members."""
    own = f"{unit}.{generation}" if generation else unit
    return f"{folder}/{own}-{sha256[:12]}.tar"


def in_order(paths: Iterable[str]) -> list[str]:
    """The paths of numbered objects in the order of their numbers: `9999.parquet` before `10000.parquet`."""
    return sorted(paths, key=lambda path: (len(path), path))


def numbered(store: Store, folder: str) -> list[str]:
    """The objects `0000.parquet`, `0001.parquet` ... of a folder, in order; IntegrityError where one of them is missing.

    Each is created after the one before it, so that one in the middle cannot be absent. A listing may lack what was written
    lately: what counts is whether an object can be read.
    """
    listed = {path for path in store.list(folder) if NUMBERED.match(path.removeprefix(f"{folder}/"))}
    count = 1 + max((int(path[len(folder) + 1 :].partition(".")[0]) for path in listed), default=-1)
    while store.size(f"{folder}/{count:04d}.parquet") is not None:
        count += 1
    paths = [f"{folder}/{i:04d}.parquet" for i in range(count)]
    if lost := [path for path in paths if path not in listed and store.size(path) is None]:
        raise IntegrityError(
            f"{store.url}/{lost[0]} is missing, but {paths[-1]} is there: restore it; `shardpipe verify` tells what else is missing"
        )
    return paths


class RowsLog:
    """The rows of one Dataset, whose folder is `prefix`; in `folder`, `rows` of a pass or `emit` records of shards."""

    def __init__(self, store: Store, prefix: str, *, folder: str = "rows") -> None:
        self._store = store
        self._folder = f"{prefix}/{folder}" if prefix else folder

    def path(self, unit: str, generation: int = 0) -> str:
        """Where a unit's rows lie; ValueError for a bad unit name."""
        if not UNIT.match(unit) or generation < 0:
            raise ValueError(f"bad unit {unit!r}, generation {generation}")
        return f"{self._folder}/{unit}.{generation}.parquet" if generation else f"{self._folder}/{unit}.parquet"

    def done(self, paths: Iterable[str] | None = None) -> dict[str, str]:
        """Each unit that has rows, sorted, and the path of its highest generation: by a fresh listing, or out of `paths`."""
        return {unit: path for unit, (_, path) in sorted(self._highest(paths).items())}

    def generations(self, paths: Iterable[str] | None = None) -> dict[str, int]:
        """Each unit that has rows, and its highest generation: by a fresh listing, or out of `paths`."""
        return {unit: generation for unit, (generation, _) in self._highest(paths).items()}

    def _highest(self, paths: Iterable[str] | None) -> dict[str, tuple[int, str]]:
        highest: dict[str, tuple[int, str]] = {}
        inside = f"{self._folder}/"
        for path in self._store.list(self._folder) if paths is None else paths:
            match = NAME.match(path, len(inside)) if path.startswith(inside) else None
            if match:
                generation = int(match["generation"] or 0)
                if match["unit"] not in highest or generation > highest[match["unit"]][0]:
                    highest[match["unit"]] = generation, path
        return highest

    def next_generation(self, unit: str, done: Mapping[str, str]) -> int:
        """The generation that rows of this unit would be, by a listing that `done` gave before: 0 where it had none."""
        match = NAME.match(done[unit].removeprefix(f"{self._folder}/")) if unit in done else None
        return int(match["generation"] or 0) + 1 if match else 0

    def later(self, unit: str, known: str | None) -> str | None:
        """The path of a unit's newest rows, if they are later than those at the path `known`: by looks at their names, since a
        listing may be late. Generations follow one another.
        """
        first = generation = self.next_generation(unit, {unit: known} if known else {})
        while self._store.size(self.path(unit, generation)) is not None:
            generation += 1
        return self.path(unit, generation - 1) if generation > first else None

    def commit(self, unit: str, data: bytes, generation: int = 0) -> bytes:
        """Make the unit done with these rows, unless it is done; the rows that count now, ours or the winner's."""
        return self._store.create(self.path(unit, generation), data)

    def there(self, unit: str, generation: int = 0) -> RowsMeta | None:
        """What the rows of this very generation say, None if they are not committed: a look without a listing."""
        path = self.path(unit, generation)
        try:
            return decode_meta(self._store.read(path), f"{self._store.url}/{path}")
        except FileNotFoundError:
            return None
