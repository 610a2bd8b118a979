"""The plan of an emitted Dataset: which clip goes to which shard. A pure function of committed rows, created once.

    ROOT/train/plan/0000.parquet   the first window of input units, 0001 the next; shards are numbered on

A window is planned when all its units have rows. What is then in the store counts, whoever wrote it. Each window names
the settings, its units, those that are missing, and the sha256 of every rows object that it was made from.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from shardpipe.config.models import PassConfig
from shardpipe.core.columns import Columns
from shardpipe.core.errors import ConfigError, IncompleteError, IntegrityError
from shardpipe.core.fingerprint import difference
from shardpipe.engine.emission.packing import Packable, pack, sample_bytes
from shardpipe.engine.emission.plansettings import PlanSettings, member_sizes
from shardpipe.engine.emission.window import PLAN_COLUMNS, Window, shard_unit, window_path
from shardpipe.engine.known import Known
from shardpipe.engine.ledger import Ledger
from shardpipe.storage.dataset import MADE, Dataset, Fold, View
from shardpipe.storage.parallel import in_order
from shardpipe.storage.rows import encode_table
from shardpipe.storage.store import Store

SHOWN = 5  # units that a message names
FOLDS_AT_ONCE = 32


@dataclass(frozen=True)
class Plan:
    """The windows of a Dataset so far, and the input's units that none of them covers."""

    windows: tuple[Window, ...]
    left: tuple[str, ...]
    waiting_for: str = ""
    """Why `left` is not planned yet; empty when nothing is left."""

    @property
    def is_whole(self) -> bool:
        """Whether every unit is in a window: no more shards will come, unless there are new sources."""
        return bool(self.windows) and not self.left

    @property
    def shard_units(self) -> list[str]:
        """All emit units so far."""
        return [unit for window in self.windows for unit in window.shard_units]


def check_settings(store: Store, windows: Sequence[Window], settings: PlanSettings) -> None:
    """Raise ConfigError with the difference if a window was planned with other settings."""
    for window in windows:
        if window.settings != settings.identity:
            lines = "\n  ".join(difference(window.settings, settings.identity))
            raise ConfigError(
                f"{store.url}/{window.path} was planned with other settings, and shards are never replaced:\n  {lines}\n"
                "Go back to those settings, or emit under another pass name"
            )


def check_emit(known: Known, config: PassConfig, columns: Columns, members: Mapping[str, str]) -> dict[str, str]:
    """Raise ConfigError, before anything runs, if a pass cannot emit what its config says, or planned otherwise before.

    columns, members: what its clips will have, its own included. Gives the members that a later pass finds in the
    shards, name to extension.
    """
    settings, name = PlanSettings.of(config), config.name
    settings.check(f"passes.{name}", columns, {ext: member for member, ext in members.items()})
    check_settings(known.store, known.windows(name), settings)
    return {ext: ext for ext in settings.members if ext not in MADE}


def make_plan(
    dataset: Dataset,
    settings: PlanSettings,
    *,
    finished: bool,
    tried: Collection[str] | None = None,
    known: Known | None = None,
) -> Plan:
    """Plan what can be planned; created if absent, then read back.

    A window is planned when all its units have rows. `finished` says that the pass has tried each unit (of `tried`, if
    given: others came with new sources since): only then may `allow_missing` of them be without. Raises ConfigError where
    earlier windows had other settings.
    """
    store, known = dataset.store, known or Known(dataset.store)
    ledger = Ledger(known, dataset.pass_layers())
    view = View(store, list(ledger.layers), done={layer.name: ledger.done(layer) for layer in ledger.layers})
    windows = known.windows(dataset.name)
    check_settings(store, windows, settings)
    settings.check(f"passes.{dataset.name}", view.columns(), view.members())
    left = _not_in(windows, ledger.units)
    allowed = settings.allow_missing - sum(len(window.missing) for window in windows) if finished else 0
    if left:
        ledger.read_base()
    while True:
        if windows and not left:
            check_keys(store, windows)
            return Plan(tuple(windows), ())
        draft = Draft(settings, view.columns())
        units = left[: settings.plan_units]
        ledger.look_up(units, ledger.layers)
        there = [unit for unit in units if ledger.listed(unit, ledger.layers)]
        draft.add(view, units, there, max_missing=allowed)
        if len(draft.missing) > allowed or (tried is not None and not set(draft.missing) <= set(tried)):
            too_many = finished and len(draft.missing) > allowed
            return Plan(tuple(windows), tuple(left), _waiting(dataset, draft.missing, finished=too_many))
        path = window_path(dataset.name, len(windows))
        first = windows[-1].first_shard + windows[-1].num_shards if windows else 0
        windows.append(Window.decode(path, store.create(path, draft.encode(first_shard=first))))
        known.took(windows[-1])
        check_settings(store, windows[-1:], settings)
        allowed -= len(windows[-1].missing)
        left = _not_in(windows[-1:], left)


def _not_in(windows: Sequence[Window], units: Sequence[str]) -> list[str]:
    """The units that none of these windows covers, in order."""
    return _without(units, [unit for window in windows for unit in window.units])


def _without(units: Sequence[str], others: Iterable[str]) -> list[str]:
    """Those that are none of the others, in order."""
    found = set(others)
    return [unit for unit in units if unit not in found]


def _waiting(dataset: Dataset, missing: Sequence[str], *, finished: bool) -> str:
    some = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
    hint = "; `emit: {allow_missing: N}` emits without them" if finished else ""
    return f"{len(missing)} units of {dataset.name} have no rows yet ({some}){hint}"


def check_keys(store: Store, windows: Sequence[Window]) -> None:
    """Raise IntegrityError if a key is planned twice: readers would join the two clips, or refuse both."""
    keys = pa.chunked_array([chunk for window in windows for chunk in window.table.column("key").chunks], pa.string())
    if pc.count_distinct(keys, mode="all").as_py() == len(keys):
        return
    seen: set[str] = set()
    for window in windows:
        for key in window.table.column("key").to_pylist():
            if key in seen:
                raise IntegrityError(
                    f"{store.url}/{window.path}: key {key} is planned twice, and keys must be unique over the whole "
                    "Dataset: run `shardpipe verify`"
                )
            seen.add(key)


@dataclass
class Draft:
    """A window in the making. Holds a few numbers a clip, not the rows."""

    settings: PlanSettings
    columns: Columns
    units: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)
    clips: list[Packable] = field(default_factory=list)
    places: list[tuple[str, str, int, int, str]] = field(default_factory=list)
    """Of each clip: unit, tar, first byte, bytes, sha256."""

    def add(self, view: View, units: Sequence[str], there: Collection[str], *, max_missing: int) -> None:
        """Add the kept clips of these units, of which those in `there` have rows; stops where more than `max_missing` have none,
        or rows that were made from others than those that are there now.
        """
        self.units += units
        self.missing += _without(units, there)
        if len(self.missing) > max_missing:
            return
        with closing(in_order(there, view.fold, at_once=FOLDS_AT_ONCE)) as folds:
            for unit, fold in folds:
                try:
                    self.add_fold(fold.result())
                except IncompleteError:
                    self.missing.append(unit)
                    if len(self.missing) > max_missing:
                        return

    def add_fold(self, fold: Fold) -> None:
        """Add the kept clips of one unit."""
        wanted = self.settings.sidecar_columns(self.columns)
        self.inputs |= fold.inputs
        for row in fold.rows:
            if row["kept"]:
                sizes = member_sizes(row, self.settings, wanted)
                bucket = tuple(row[name] for name in self.settings.bucket)
                self.clips.append(Packable(row["key"], sample_bytes(sizes.values()), bucket))
                self.places.append((fold.unit, row["shard"], row["offset"], row["size"], row["sha256"]))

    def encode(self, *, first_shard: int) -> bytes:
        """The plan object."""
        rows = []
        shards = pack(self.clips, shard_bytes=self.settings.shard_bytes, shuffle=self.settings.shuffle)
        for number, shard in enumerate(shards, first_shard):
            for place, i in enumerate(shard):
                unit, media, offset, size, sha256 = self.places[i]
                place_out = {"unit_out": shard_unit(number), "shard": number, "place": place}
                place_in = {"unit": unit, "media": media, "offset": offset, "size": size, "sha256": sha256}
                rows.append({"key": self.clips[i].key, **place_out, **place_in})
        facts = {
            "settings": self.settings.identity,
            "units": self.units,
            "missing": _without(self.units, set(self.units).difference(self.missing)),
            "inputs": self.inputs,
            "first_shard": first_shard,
            "num_shards": len(shards),
        }
        return encode_table(PLAN_COLUMNS, rows, facts)
