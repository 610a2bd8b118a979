"""Where a run stands, read from what is committed, so that it tells the same from any machine.

status(store)              every Dataset of a root: units, clips seen, kept, dropped by rule, failed, bytes, rate
funnel(store, "train")     the same of the Datasets that one was made from, in their order
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from shardpipe.core.errors import IncompleteError
from shardpipe.core.work import Phase, Usage
from shardpipe.engine.emit import shard_name
from shardpipe.engine.emitplan import Window, read_windows
from shardpipe.engine.index import is_whole
from shardpipe.engine.timings import Timing, clips_per_s, read_timings, total
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.dataset import Dataset, Layer, LayerRows, Row, check_inputs, unit_list
from shardpipe.storage.drivers import Driver, live_drivers
from shardpipe.storage.lookback import NAMES, names_so_far
from shardpipe.storage.probe import known_honours
from shardpipe.storage.store import Honours, Store

NamesSoFar = Mapping[str, Mapping[str, str]]
"""By layer that looks back: for each unit the digest NAMES of what it was made from."""


@dataclass(frozen=True)
class Loss:
    """The clips that one rule (or the errors of one stage) dropped, and their seconds of video."""

    reason: str
    num_clips: int
    duration_s: float


@dataclass(frozen=True)
class PassStatus:
    """One Dataset. Counts are of clips that were still kept when its pass saw them, over the units that are done.

    complete: whether all units are done; of an emitted Dataset, whether all are planned and its newest index covers them.
    num_units is None while the input's units are not known. num_shards, num_shards_done, num_shard_bytes: of what is planned of it.
    usage: what the units took, of all phases; None if no worker left a note. eta_s: at the last rate of clips.
    gap: of a pass whose stages look through the Dataset, the first unit of its input that is not there: all from it on wait.
    """

    name: str
    emit: str
    complete: bool
    num_units: int | None = None
    num_units_done: int = 0
    num_shards: int = 0
    num_shards_done: int = 0
    num_shard_bytes: int = 0
    num_seen: int = 0
    num_kept: int = 0
    num_dropped: int = 0
    num_failed: int = 0
    seen_s: float = 0.0
    kept_s: float = 0.0
    num_bytes: int = 0
    losses: tuple[Loss, ...] = ()
    usage: Usage | None = None
    clips_per_s: float | None = None
    eta_s: float | None = None
    gap: str | None = None


@dataclass(frozen=True)
class Status:
    """The Datasets of a root, each after those that it was made from."""

    root: str
    passes: tuple[PassStatus, ...]
    honours: Honours | None = None
    """What the store keeps to; None: no run has found out yet."""

    drivers: tuple[Driver, ...] = ()
    """Those that live on it now, where they say so."""

    @property
    def usage(self) -> Usage:
        """What all of it took."""
        return sum((each.usage for each in self.passes if each.usage is not None), Usage())


def status(store: Store, *, only: Sequence[str] | None = None) -> Status:
    """Where every Dataset of a root stands, or those of the names in `only` that are there."""
    if only is None:
        found = _report(store, all_datasets(store))
        return replace(found, honours=known_honours(store), drivers=tuple(live_drivers(store)))
    names = [name for name in only if store.size(f"{name}/dataset.json") is not None]  # no listing of the whole root
    return _report(store, [Dataset.open(store, name) for name in _in_order(store, names) if name in names])


def all_datasets(store: Store) -> list[Dataset]:
    """All Datasets of a root, each after those that it was made from."""
    return [Dataset.open(store, name) for name in _in_order(store, Dataset.names(store))]


def _in_order(store: Store, names: Iterable[str]) -> dict[str, None]:
    """These Datasets and those that they were made from, which come first."""
    order: dict[str, None] = {}
    for name in names:
        order |= dict.fromkeys(ancestry(store, name))
    return order


def funnel(store: Store, name: str) -> Status:
    """Where the Dataset `name` and those that it was made from stand; raises IncompleteError if there is none."""
    return _report(store, [Dataset.open(store, each) for each in ancestry(store, name)])


def ancestry(store: Store, name: str) -> list[str]:
    """The Datasets that `name` was made from, first to last, itself last."""
    found: dict[str, None] = {}
    for prefix in Dataset.open(store, name).info.layers:
        if prefix != ".":
            found |= dict.fromkeys(ancestry(store, prefix.removeprefix("../")))
    return [*found, name]


def _report(store: Store, datasets: Sequence[Dataset]) -> Status:
    tallies = {each.name: _Tally(each) for each in datasets}
    by_base: dict[str, list[_Tally]] = {}
    for tally in tallies.values():
        by_base.setdefault(tally.layers[0].name, []).append(tally)
    for group in by_base.values():
        _count(store, group)
    return Status(store.url, tuple(tally.result(store) for tally in tallies.values()))


def _count(store: Store, group: Sequence["_Tally"]) -> None:
    """Count the rows of all passes over one base, each rows object read once."""
    done: dict[str, dict[str, str]] = {}
    base = group[0].layers[0]
    units = unit_list(store, base)
    for tally in group:
        tally.num_units = len(units)
        for layer in tally.layers:
            if layer.name not in done:
                done[layer.name] = layer.log.done()
    looking_back = {layer.name: layer for tally in group for layer in tally.layers if layer.info.looks_back}
    so_far = {
        name: names_so_far(units, [done[each] for each in layer.info.inputs]) for name, layer in looking_back.items()
    }
    for unit in units:
        read: dict[str, LayerRows | None] = {base.name: base.read([unit], done[base.name])}
        rows = read[base.name]
        for tally in group:
            for layer in tally.layers[1:]:
                if layer.name not in read and rows is not None:
                    read[layer.name] = layer.read(layer.slices(unit, len(rows.rows)), done[layer.name])
            tally.add(store, unit, [read.get(layer.name) for layer in tally.layers], so_far)


@dataclass
class _Tally:
    """The counts of one Dataset, filled unit by unit."""

    dataset: Dataset
    num_units: int | None = None
    num_units_done: int = 0
    num_bytes: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    seen_s: float = 0.0
    kept_s: float = 0.0
    lost: Counter[str] = field(default_factory=Counter)
    lost_s: dict[str, float] = field(default_factory=dict)
    gap: str | None = None

    def __post_init__(self) -> None:
        self.layers: list[Layer] = self.dataset.pass_layers()
        self.windows = read_windows(self.dataset.store, self.dataset.name)
        self.window_of = {unit: window for window in self.windows for unit in window.units}

    def add(self, store: Store, unit: str, parts: Sequence[LayerRows | None], so_far: NamesSoFar) -> None:
        """Count one unit, of which `parts` are the layers' rows, this pass's last; so_far: of the layers that look back."""
        digests = [{NAMES: so_far[layer.name][unit]} if layer.name in so_far else {} for layer in self.layers]
        if self.gap is None and self.dataset.info.looks_back and not self._are_fresh(store, parts[:-1], digests):
            self.gap = unit
        found = [part for part in parts if part is not None]
        if not self._are_fresh(store, parts, digests):
            found = self._as_planned(unit)
            if not found:
                return
        self.num_units_done += 1
        *before, own = found
        self.num_bytes += sum(meta.tar.num_bytes for meta in own.metas if meta.tar is not None)
        alive = _kept_keys(before)
        durations = {row["key"]: row.get("duration_s") or 0.0 for row in found[0].rows}
        for row in own.rows:
            if alive is None or row["key"] in alive:
                self._add_row(row, durations[row["key"]])

    def _as_planned(self, unit: str) -> list[LayerRows]:
        """The rows of a unit that the plan names, which count whatever was written since; none if it is not planned."""
        window = self.window_of.get(unit)
        if window is None or unit in window.missing:
            return []
        base, *others = self.layers
        try:
            rows = base.read([unit], base.log.done(window.inputs))
            if rows is None:
                return []
            num = len(rows.rows)
            found = [layer.read(layer.slices(unit, num), layer.log.done(window.inputs)) for layer in others]
        except FileNotFoundError:  # lost since: `verify` says so
            return []
        return [rows, *(each for each in found if each is not None)] if all(found) else []

    def _are_fresh(self, store: Store, parts: Sequence[LayerRows | None], digests: Sequence[Mapping[str, str]]) -> bool:
        inputs: dict[str, str] = {}
        for part, digest in zip(parts, digests, strict=False):
            if part is None:
                return False
            try:
                check_inputs(store, part, {**inputs, **digest})
            except IncompleteError:
                return False
            inputs |= dict(zip(part.paths, part.sha256s, strict=True))
        return True

    def _add_row(self, row: Row, duration_s: float) -> None:
        self.counts["seen"] += 1
        self.seen_s += duration_s
        self.counts["failed"] += row["error"] is not None
        if row["kept"]:
            self.counts["kept"] += 1
            self.kept_s += duration_s
            return
        reason = row["dropped_by"] or f"error: {self.dataset.name}"
        self.lost[reason] += 1
        self.lost_s[reason] = self.lost_s.get(reason, 0.0) + duration_s

    def result(self, store: Store) -> PassStatus:
        """The counts as one value, with what lies beside the rows: shards and timings."""
        dataset, info = self.dataset, self.dataset.info
        shards, shards_done, shard_bytes = _shards(store, dataset, self.windows)
        timings = read_timings(store, dataset.name, "cut" if info.kind == "cut" else "rows")
        rate = clips_per_s(timings)
        if info.emit == "shards":
            num_planned = sum(len(window.units) for window in self.windows)
            complete = num_planned == self.num_units and is_whole(store, dataset.name)
        else:
            complete = bool(self.num_units) and self.num_units_done == self.num_units
        return PassStatus(
            name=dataset.name,
            emit=info.emit,
            complete=complete,
            num_units=self.num_units,
            num_units_done=self.num_units_done,
            num_shards=shards,
            num_shards_done=shards_done,
            num_shard_bytes=shard_bytes,
            num_seen=self.counts["seen"],
            num_kept=self.counts["kept"],
            num_dropped=self.counts["seen"] - self.counts["kept"],
            num_failed=self.counts["failed"],
            seen_s=self.seen_s,
            kept_s=self.kept_s,
            num_bytes=self.num_bytes + shard_bytes,
            losses=tuple(Loss(reason, count, self.lost_s[reason]) for reason, count in self.lost.most_common()),
            usage=_all_usage(store, dataset.name, timings),
            clips_per_s=rate,
            eta_s=self._eta_s(rate) if not complete else None,
            gap=self.gap if not complete else None,
        )

    def _eta_s(self, rate: float | None) -> float | None:
        if not rate or not self.num_units or not self.num_units_done:
            return None
        clips_a_unit = self.counts["seen"] / self.num_units_done
        return (self.num_units - self.num_units_done) * clips_a_unit / rate


def _kept_keys(parts: Iterable[LayerRows]) -> set[str] | None:
    """The keys that all of `parts` kept; None if there are no parts (the pass is the first)."""
    alive: set[str] | None = None
    for part in parts:
        dropped = {row["key"] for row in part.rows if not row["kept"]}
        alive = (alive if alive is not None else {row["key"] for row in part.rows}) - dropped
    return alive


def _shards(store: Store, dataset: Dataset, windows: Sequence[Window]) -> tuple[int, int, int]:
    """(planned, written, bytes written) of a pass's shards; zeros where nothing is planned."""
    if not windows:
        return 0, 0, 0
    planned = {unit for window in windows for unit in window.shard_units}
    done = RowsLog(store, dataset.name, folder="emit").done()
    tars: Mapping[str, int] = store.list(f"{dataset.name}/shards")
    num_bytes = sum(tars.get(f"{dataset.name}/{shard_name(dataset.name, unit)}", 0) for unit in planned)
    return len(planned), len(planned & done.keys()), num_bytes


def _all_usage(store: Store, name: str, timings: Sequence[Timing]) -> Usage | None:
    emitted: Phase = "emit"
    every = [*timings, *read_timings(store, name, emitted)]
    return total(every) if every else None
