"""Where a run stands, read from what is committed, so that it tells the same from any machine.

status(store)              every Dataset of a root: units, clips seen, kept, dropped by rule, failed, bytes, rate
funnel(store, "train")     the same of the Datasets that one was made from, in their order
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from shardpipe.core.work import PHASES, Phase, Usage
from shardpipe.engine.emission.index import is_whole
from shardpipe.engine.emission.record import shard_name
from shardpipe.engine.emission.window import Window
from shardpipe.engine.known import Known
from shardpipe.engine.ledger import Ledger, Part
from shardpipe.engine.timings import Timing, clips_per_s, read_timings, timings_folder, total
from shardpipe.engine.upkeep.removedclips import num_removed
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.dataset import Dataset, Layer
from shardpipe.storage.drivers import Driver, live_drivers
from shardpipe.storage.facts import RowsFacts
from shardpipe.storage.probe import known_honours
from shardpipe.storage.store import Honours, Store


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

    num_removed: int = 0
    """Clips that are removed. Counts of passes are of what they saw: what was removed since is in them."""

    @property
    def usage(self) -> Usage:
        """What all of it took."""
        return sum((each.usage for each in self.passes if each.usage is not None), Usage())


def status(store: Store, *, only: Sequence[str] | None = None) -> Status:
    """Where every Dataset of a root stands, or those of the names in `only` that are there."""
    known = Known(store)
    if only is None:
        found = _report(known, all_datasets(store, known.list_root()))
        return replace(
            found, honours=known_honours(store), drivers=tuple(live_drivers(store)), num_removed=num_removed(known)
        )
    names = [name for name in only if store.size(f"{name}/dataset.json") is not None]  # no listing of the whole root
    return _report(known, [Dataset.open(store, name) for name in _in_order(store, names) if name in names])


def all_datasets(store: Store, names: Iterable[str] | None = None) -> list[Dataset]:
    """All Datasets of a root, or those that `names` says there are, each after those that it was made from."""
    return [Dataset.open(store, name) for name in _in_order(store, Dataset.names(store) if names is None else names)]


def _in_order(store: Store, names: Iterable[str]) -> dict[str, None]:
    """These Datasets and those that they were made from, which come first."""
    order: dict[str, None] = {}
    for name in names:
        order |= dict.fromkeys(ancestry(store, name))
    return order


def funnel(store: Store, name: str) -> Status:
    """Where the Dataset `name` and those that it was made from stand; raises IncompleteError if there is none."""
    return _report(Known(store), [Dataset.open(store, each) for each in ancestry(store, name)])


def ancestry(store: Store, name: str) -> list[str]:
    """The Datasets that `name` was made from, first to last, itself last."""
    found: dict[str, None] = {}
    for prefix in Dataset.open(store, name).info.layers:
        if prefix != ".":
            found |= dict.fromkeys(ancestry(store, prefix.removeprefix("../")))
    return [*found, name]


def _report(known: Known, datasets: Sequence[Dataset]) -> Status:
    tallies = {each.name: _Tally(known, each) for each in datasets}
    known.list_all(folder for tally in tallies.values() for folder in tally.folders())
    by_base: dict[str, list[_Tally]] = {}
    for tally in tallies.values():
        by_base.setdefault(tally.layers[0].name, []).append(tally)
    for group in by_base.values():
        _count(known, group)
    return Status(known.store.url, tuple(tally.result() for tally in tallies.values()))


def _count(known: Known, group: Sequence["_Tally"]) -> None:
    """Count the rows of all passes over one base, each rows object read once."""
    layers = {layer.name: layer for tally in group for layer in tally.layers}
    read_by_others = {layer.name for tally in group for layer in tally.layers[:-1]}
    ledger = Ledger(known, list(layers.values()))
    for layer in layers.values():
        ledger.read(layer, ledger.units, hashed=layer.name in read_by_others)
    for tally in group:
        tally.num_units = len(ledger.units)
    for unit in ledger.units:
        parts = {name: ledger.part(layer, unit) for name, layer in layers.items()}
        for tally in group:
            tally.add(ledger, unit, [parts[layer.name] for layer in tally.layers])


@dataclass
class _Tally:
    """The counts of one Dataset, filled unit by unit."""

    known: Known
    dataset: Dataset
    num_units: int | None = None
    num_units_done: int = 0
    num_bytes: int = 0
    num_seen: int = 0
    num_kept: int = 0
    num_failed: int = 0
    seen_s: float = 0.0
    kept_s: float = 0.0
    lost: Counter[str] = field(default_factory=Counter)
    lost_s: dict[str, float] = field(default_factory=dict)
    gap: str | None = None

    def __post_init__(self) -> None:
        self.layers: list[Layer] = self.dataset.pass_layers()
        self.windows = self.known.windows(self.dataset.name)
        self._planned: dict[str, dict[str, Mapping[str, str]]] = {}

    @cached_property
    def window_of(self) -> Mapping[str, Window]:
        """Each planned unit that is not missing, and its window."""
        return {unit: each for each in self.windows for unit in set(each.units).difference(each.missing)}

    def folders(self) -> list[str]:
        """What is listed to tell where this Dataset stands."""
        name, more = self.dataset.name, ("emit", "shards") if self.windows else ()
        timings = [timings_folder(name, phase) for phase in PHASES]
        return [*(layer.folder for layer in self.layers), *(f"{name}/{folder}" for folder in more), *timings]

    def add(self, ledger: Ledger, unit: str, parts: Sequence[Part | None]) -> None:
        """Count one unit, of which `parts` are what is known of the layers' rows, this pass's last."""
        if self.gap is None and self.dataset.info.looks_back and not self._are_fresh(ledger, unit, parts[:-1]):
            self.gap = unit
        own = parts[-1]
        if own is None or not self._are_fresh(ledger, unit, parts):
            own = self._as_planned(ledger, unit)
            if own is None:
                return
        self.num_units_done += 1
        for facts in own.values():
            self._add_rows(facts)

    def _as_planned(self, ledger: Ledger, unit: str) -> Part | None:
        """The pass's rows of a unit that the plan names, which count whatever was written since; None if it is not planned, or
        any of the rows that it names were lost since: `verify` says so.
        """
        window = self.window_of.get(unit)
        if window is None:
            return None
        if window.path not in self._planned:
            self._planned[window.path] = {layer.name: layer.log.done(window.inputs) for layer in self.layers}
        found = None
        for layer in self.layers:
            found = ledger.named(layer, unit, self._planned[window.path])
            if found is None:
                return None
        return found

    def _are_fresh(self, ledger: Ledger, unit: str, parts: Sequence[Part | None]) -> bool:
        inputs: dict[str, str] = {}
        for layer, part in zip(self.layers, parts, strict=False):
            if part is None or not ledger.is_fresh(layer, unit, part, inputs):
                return False
            inputs |= {path: facts.sha256 or "" for path, facts in part.items()}
        return True

    def _add_rows(self, facts: RowsFacts) -> None:
        self.num_bytes += facts.num_tar_bytes
        self.num_seen += facts.num_seen
        self.num_kept += facts.num_kept
        self.num_failed += facts.num_failed
        self.seen_s += facts.seen_s
        self.kept_s += facts.kept_s
        for reason, num_clips, seconds in facts.lost:
            self.lost[reason] += num_clips
            self.lost_s[reason] = self.lost_s.get(reason, 0.0) + seconds

    def result(self) -> PassStatus:
        """The counts as one value, with what lies beside the rows: shards and timings."""
        dataset, info, store = self.dataset, self.dataset.info, self.known.store
        shards, shards_done, shard_bytes = self._shards()
        timings = self._timings("cut" if info.kind == "cut" else "rows")
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
            num_seen=self.num_seen,
            num_kept=self.num_kept,
            num_dropped=self.num_seen - self.num_kept,
            num_failed=self.num_failed,
            seen_s=self.seen_s,
            kept_s=self.kept_s,
            num_bytes=self.num_bytes + shard_bytes,
            losses=tuple(Loss(reason, count, self.lost_s[reason]) for reason, count in self.lost.most_common()),
            usage=self._usage(timings),
            clips_per_s=rate,
            eta_s=self._eta_s(rate) if not complete else None,
            gap=self.gap if not complete else None,
        )

    def _eta_s(self, rate: float | None) -> float | None:
        if not rate or not self.num_units or not self.num_units_done:
            return None
        clips_a_unit = self.num_seen / self.num_units_done
        return (self.num_units - self.num_units_done) * clips_a_unit / rate

    def _shards(self) -> tuple[int, int, int]:
        """(planned, written, bytes written) of a pass's shards; zeros where nothing is planned."""
        if not self.windows:
            return 0, 0, 0
        name = self.dataset.name
        planned = {unit for window in self.windows for unit in window.shard_units}
        done = RowsLog(self.known.store, name, folder="emit").done(self.known.listing(f"{name}/emit"))
        tars = self.known.listing(f"{name}/shards")
        sizes = (tars.get(f"{name}/{shard_name(name, unit)}") for unit in planned)
        return len(planned), len(planned & done.keys()), sum(each.size for each in sizes if each is not None)

    def _usage(self, timings: Sequence[Timing]) -> Usage | None:
        every = [*timings, *self._timings("emit")]
        return total(every) if every else None

    def _timings(self, phase: Phase) -> Sequence[Timing]:
        paths = self.known.listing(timings_folder(self.dataset.name, phase))
        return read_timings(self.known.store, self.dataset.name, phase, paths)
