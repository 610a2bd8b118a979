"""Captions for a person to look at: a sample of one column of a Dataset, or of two side by side, and what can be counted of them.

Rows are read a unit at a time. Of each clip that counts three numbers are kept: its place in the order of the sample, a hash of
its text and its unit; the rows of the sample are read again at the end. The order is a hash of the seed and the key, so which clips
are shown depends on these alone: not on units, on other clips, or on how much of a run is done.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardpipe.core.clip import STATE
from shardpipe.core.columns import bool_, string
from shardpipe.core.errors import ConfigError, IncompleteError
from shardpipe.engine.passes.rules import Rule, RuleSet
from shardpipe.engine.views.report import all_datasets
from shardpipe.stages.text_len import num_words
from shardpipe.storage.dataset import Dataset, Row, View
from shardpipe.storage.store import Store

Places = NDArray[np.uint64]
TRUNCATED, FINISH = "_truncated", "_finish"
MAX_FINISHES = 16
OTHER = "other"


@dataclass(frozen=True)
class Side:
    """A column of captions of a Dataset; ConfigError where it has none of that name."""

    dataset: Dataset
    column: str

    def __post_init__(self) -> None:
        columns = self.view.columns()
        if columns.get(self.column) != string:
            texts = ", ".join(name for name, kind in columns.items() if kind == string)
            what = "no column" if self.column not in columns else "no column of texts"
            raise ConfigError(f"{self.dataset.name} has {what} {self.column!r}; of texts there are: {texts}")

    @cached_property
    def view(self) -> View:
        """The folded rows of its own pass."""
        return self.dataset.pass_view()

    @cached_property
    def units(self) -> list[str]:
        """All units, whether done or not."""
        return self.view.units()

    @cached_property
    def details(self) -> list[str]:
        """The columns that say something of the caption: `text_model`, `text_tokens`."""
        return [name for name in self.view.columns() if name.startswith(f"{self.column}_")]

    def counts(self, row: Row) -> bool:
        """Whether a clip is one of those that were to have a caption: still kept, or dropped with one."""
        return row["kept"] or row[self.column] is not None


@dataclass(frozen=True)
class Totals:
    """What is counted of one side.

    num_clips: that count (`Side.counts`). num_texts: that have a caption. num_errors: without one, and with an error. mean_words: of
    those that have one; None without any. num_truncated, finishes: of `<column>_truncated` and `<column>_finish`; None where it has
    no such column.
    """

    pass_name: str
    column: str
    num_units: int
    num_units_done: int
    num_clips: int
    num_texts: int
    num_errors: int
    mean_words: float | None
    num_truncated: int | None
    finishes: Mapping[str, int] | None


@dataclass(frozen=True)
class Pairs:
    """Two sides against each other: clips with a caption on both, on one alone, and with the same on both."""

    num_both: int
    num_only_a: int
    num_only_b: int
    num_equal: int


@dataclass(frozen=True)
class Caption:
    """A clip's caption on one side, None where it has none, and the details that it has."""

    text: str | None
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Sample:
    """One clip; a caption a side."""

    key: str
    captions: tuple[Caption, ...]


@dataclass(frozen=True)
class Comparison:
    """What `compare` found. pairs: None of one side."""

    totals: tuple[Totals, ...]
    pairs: Pairs | None
    samples: tuple[Sample, ...]


def choose_sides(
    store: Store, a: str | None, b: str | None, column: str, against_column: str | None
) -> tuple[Side, ...]:
    """One side or two. Without names: the last two passes that write the column, or the only one."""
    if a is None and b is not None:
        raise ConfigError(f"--against {b} needs --pass A: which pass is to stand beside it?")
    if a is None:
        datasets = all_datasets(store)
        writers = [each for each in datasets if column in each.info.columns]
        if len(writers) > 1 and against_column is None:
            return tuple(Side(each, column) for each in writers[-2:])
        first = (writers or datasets)[-1]
    else:
        first = Dataset.there(store, a)
    if b is None and against_column is None:
        return (Side(first, column),)
    second = first if b is None else Dataset.there(store, b)
    return Side(first, column), Side(second, against_column or column)


def compare(sides: Sequence[Side], *, num: int, seed: int, where: Rule | None = None) -> Comparison:
    """A sample of `num` clips that have a caption on each side, and the totals. `where` is a rule on the rows of the first side."""
    scans = [_Scan(sides[0], seed).read(where)]
    scans += [_Scan(side, seed).read(among=None if where is None else scans[0].seen) for side in sides[1:]]
    places = scans[0].texts
    for scan in scans[1:]:
        places = np.intersect1d(places, scan.texts, assume_unique=True)
    samples = _sample(scans, np.sort(places)[:num])
    pairs = _pairs(scans[0], scans[1]) if len(scans) > 1 else None
    return Comparison(tuple(scan.totals() for scan in scans), pairs, samples)


def one_clip(sides: Sequence[Side], key: str) -> Sample:
    """The captions of the clip of this key; ConfigError where no side has it."""
    rows = [next((row for _, rows in _rows_by_unit(side) for row in rows if row["key"] == key), None) for side in sides]
    if all(row is None for row in rows):
        raise ConfigError(f"{' and '.join(dict.fromkeys(side.dataset.name for side in sides))} has no clip {key!r}")
    return Sample(key, tuple(_caption(side, row) for side, row in zip(sides, rows, strict=True)))


@dataclass
class _Scan:
    """What is kept of the rows of one side. seen: the places of all clips that were looked at, sorted once it is read.

    texts, hashes, units: of each clip that has a caption its place, the hash of the caption, and the number of its unit.
    """

    side: Side
    seed: int
    num_units_done: int = 0
    num_clips: int = 0
    num_errors: int = 0
    num_words: int = 0
    num_truncated: int = 0
    finishes: Counter[str] = field(default_factory=Counter)
    seen: Places = field(default_factory=lambda: np.empty(0, np.uint64))
    texts: Places = field(default_factory=lambda: np.empty(0, np.uint64))
    hashes: Places = field(default_factory=lambda: np.empty(0, np.uint64))
    units: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))

    def read(self, where: Rule | None = None, among: Places | None = None) -> "_Scan":
        """Read all rows: those that a rule keeps, or whose places are in `among`."""
        schema = {**self.side.view.columns(), **STATE}
        rules = RuleSet(() if where is None else (where,))
        if where is not None:
            where.check(schema)
        seen, texts, hashes, units = [], [], [], []
        for number, rows in _rows_by_unit(self.side):
            self.num_units_done += 1
            looked_at = [row for row in rows if self.side.counts(row) or row["error"] is not None]
            dropped = rules.dropped_by(looked_at, schema)
            chosen = [row for row, rule in zip(looked_at, dropped, strict=True) if rule is None]
            places = _places(self.seed, chosen)
            if among is not None:
                is_in = _are_in(places, among)
                chosen, places = [row for row, there in zip(chosen, is_in, strict=True) if there], places[is_in]
            has_text = np.array([self._count(row) for row in chosen], bool)
            seen.append(places)
            texts.append(places[has_text])
            hashes.append(_hashes(row[self.side.column] for row, there in zip(chosen, has_text, strict=True) if there))
            units.append(np.full(len(texts[-1]), number, np.int32))
        if seen:
            self.seen, self.texts = np.sort(np.concatenate(seen)), np.concatenate(texts)
            self.hashes, self.units = np.concatenate(hashes), np.concatenate(units)
        return self

    def _count(self, row: Row) -> bool:
        """Count a clip; whether it has a caption."""
        column = self.side.column
        text = row[column]
        if self.side.counts(row):
            self.num_clips += 1
            self.num_truncated += bool(row.get(f"{column}{TRUNCATED}"))
            finish = row.get(f"{column}{FINISH}")
            if finish is not None:
                is_known = finish in self.finishes or len(self.finishes) < MAX_FINISHES
                self.finishes[str(finish) if is_known else OTHER] += 1
        if text is None:
            self.num_errors += row["error"] is not None
            return False
        self.num_words += num_words(text)
        return True

    def totals(self) -> Totals:
        """The counts."""
        column, columns, num_texts = self.side.column, self.side.view.columns(), len(self.texts)
        return Totals(
            pass_name=self.side.dataset.name,
            column=column,
            num_units=len(self.side.units),
            num_units_done=self.num_units_done,
            num_clips=self.num_clips,
            num_texts=num_texts,
            num_errors=self.num_errors,
            mean_words=self.num_words / num_texts if num_texts else None,
            num_truncated=self.num_truncated if columns.get(f"{column}{TRUNCATED}") == bool_ else None,
            finishes=dict(sorted(self.finishes.items())) if f"{column}{FINISH}" in columns else None,
        )

    def captions(self, places: Places) -> dict[int, tuple[str, Caption]]:
        """Key and caption of the clips at these places, which have one."""
        units = set(self.units[_are_in(self.texts, places)].tolist())
        wanted = set(places.tolist())
        return {
            place: (str(row["key"]), _caption(self.side, row))
            for _, rows in _rows_by_unit(self.side, units)
            for place, row in zip(_places(self.seed, rows).tolist(), rows, strict=True)
            if place in wanted
        }


def _pairs(a: _Scan, b: _Scan) -> Pairs:
    both, of_a, of_b = np.intersect1d(a.texts, b.texts, assume_unique=True, return_indices=True)
    num_equal = int(np.count_nonzero(a.hashes[of_a] == b.hashes[of_b]))
    return Pairs(len(both), len(a.texts) - len(both), len(b.texts) - len(both), num_equal)


def _sample(scans: Sequence[_Scan], places: Places) -> tuple[Sample, ...]:
    sides = [scan.captions(places) for scan in scans]
    return tuple(
        Sample(sides[0][place][0], tuple(side[place][1] for side in sides))
        for place in places.tolist()
        if all(place in side for side in sides)  # a retry may have replaced rows since
    )


def _caption(side: Side, row: Row | None) -> Caption:
    if row is None:
        return Caption(None, {})
    return Caption(row[side.column], {name: row[name] for name in side.details if row[name] is not None})


def _rows_by_unit(side: Side, only: Collection[int] | None = None) -> Iterator[tuple[int, list[Row]]]:
    """The number of each unit that has rows, and these."""
    for number, unit in enumerate(side.units):
        if only is None or number in only:
            with suppress(IncompleteError):
                yield number, side.view.fold(unit).rows


def _places(seed: int, rows: Iterable[Row]) -> Places:
    return _hashes(f"{seed} {row['key']}" for row in rows)


def _hashes(texts: Iterable[str]) -> Places:
    """64 bits of a hash of each text."""
    data = b"".join(hashlib.sha256(text.encode()).digest()[:8] for text in texts)
    return np.frombuffer(data, ">u8").astype(np.uint64)


def _are_in(places: Places, among: Places) -> NDArray[np.bool_]:
    """Of each place whether it is one of `among`, which is sorted."""
    if not among.size:
        return np.zeros(len(places), bool)
    at = np.minimum(np.searchsorted(among, places), among.size - 1)
    return np.equal(among[at], places)
