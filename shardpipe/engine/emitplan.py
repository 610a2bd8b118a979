"""The plan of an emitted Dataset: which clip goes to which shard. A pure function of committed rows, created once.

    ROOT/train/plan/0000.parquet   the first window of input units, 0001 the next; shards are numbered on

A window is planned when all its units have rows. What is then in the store counts, whoever wrote it. Each window names
the settings, its units, those that are missing, and the sha256 of every rows object that it was made from.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from shardpipe.config.models import PassConfig
from shardpipe.core.columns import Columns, int64, string
from shardpipe.core.errors import ConfigError, IncompleteError, IntegrityError
from shardpipe.core.fingerprint import difference, sha256_hex
from shardpipe.engine.packing import Packable, pack, sample_bytes
from shardpipe.engine.plansettings import PlanSettings, member_sizes
from shardpipe.storage.commit import numbered
from shardpipe.storage.dataset import MADE, Dataset, Fold, Row, View
from shardpipe.storage.rows import decode_table, encode_table
from shardpipe.storage.store import Store

SHOWN = 5  # units that a message names
PLAN_COLUMNS: Columns = {
    "key": string,
    "unit": string,  # of the input
    "unit_out": string,  # the emit unit: the shard's number in six digits
    "shard": int64,
    "place": int64,  # in the shard, from 0
    "media": string,  # the tar that has the mp4 now, relative to the root
    "offset": int64,
    "size": int64,
    "sha256": string,
}


@dataclass(frozen=True)
class Window:
    """One plan object. `units`: the input's units that it covers; `missing`: those of them without rows.

    inputs: path to sha256 of each rows object that it was made from.
    """

    path: str
    sha256: str
    settings: Mapping[str, Any]
    units: tuple[str, ...]
    missing: tuple[str, ...]
    inputs: Mapping[str, str]
    first_shard: int
    num_shards: int
    table: pa.Table = field(repr=False)

    @staticmethod
    def decode(path: str, data: bytes) -> "Window":
        """The window in a plan object; IntegrityError if it is damaged."""
        table, facts = decode_table(data, path, columns=PLAN_COLUMNS)
        try:
            return Window(
                path,
                sha256_hex(data),
                facts["settings"],
                tuple(facts["units"]),
                tuple(facts["missing"]),
                facts["inputs"],
                facts["first_shard"],
                facts["num_shards"],
                table,
            )
        except KeyError as error:
            raise IntegrityError(f"{path} is no plan: it lacks {error}; run `shardpipe verify`") from error

    @property
    def shard_units(self) -> list[str]:
        """The emit units: one a shard."""
        return [shard_unit(self.first_shard + i) for i in range(self.num_shards)]

    def clips(self, unit: str) -> list[Row]:
        """The plan's rows of one shard, in order of their places."""
        numbers = self.table.column("shard").to_numpy()
        start, end = np.searchsorted(numbers, [int(unit), int(unit) + 1])
        rows: list[Row] = self.table.slice(start, end - start).to_pylist()
        return rows


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


def shard_unit(number: int) -> str:
    """The emit unit's name: what stands in the shard's name too."""
    return f"{number:06d}"


def read_windows(store: Store, name: str) -> list[Window]:
    """The windows of the Dataset `name` that are planned, in order."""
    return [Window.decode(path, store.read(path)) for path in numbered(store, f"{name}/plan")]


def window_path(name: str, index: int) -> str:
    """Where the plan of a window lies."""
    return f"{name}/plan/{index:04d}.parquet"


def check_settings(store: Store, windows: Sequence[Window], settings: PlanSettings) -> None:
    """Raise ConfigError with the difference if a window was planned with other settings."""
    for window in windows:
        if window.settings != settings.identity:
            lines = "\n  ".join(difference(window.settings, settings.identity))
            raise ConfigError(
                f"{store.url}/{window.path} was planned with other settings, and shards are never replaced:\n  {lines}\n"
                "Go back to those settings, or emit under another pass name"
            )


def check_emit(store: Store, config: PassConfig, columns: Columns, members: Mapping[str, str]) -> dict[str, str]:
    """Raise ConfigError, before anything runs, if a pass cannot emit what its config says, or planned otherwise before.

    columns, members: what its clips will have, its own included. Gives the members that a later pass finds in the
    shards, name to extension.
    """
    settings, name = PlanSettings.of(config), config.name
    settings.check(f"passes.{name}", columns, {ext: member for member, ext in members.items()})
    path = window_path(name, 0)
    if store.size(path) is not None:
        check_settings(store, [Window.decode(path, store.read(path))], settings)
    return {ext: ext for ext in settings.members if ext not in MADE}


def make_plan(
    dataset: Dataset, settings: PlanSettings, *, finished: bool, tried: Collection[str] | None = None
) -> Plan:
    """Plan what can be planned; created if absent, then read back.

    A window is planned when all its units have rows. `finished` says that the pass has tried each unit (of `tried`, if
    given: others came with new sources since): only then may `allow_missing` of them be without. Raises ConfigError where
    earlier windows had other settings.
    """
    store, view = dataset.store, dataset.pass_view()
    windows = read_windows(store, dataset.name)
    check_settings(store, windows, settings)
    settings.check(f"passes.{dataset.name}", view.columns(), view.members())
    left = _not_in(windows, view.units())
    allowed = settings.allow_missing - sum(len(window.missing) for window in windows) if finished else 0
    while True:
        if windows and not left:
            check_keys(store, windows)
            return Plan(tuple(windows), ())
        draft = Draft(settings, view.columns())
        draft.add(view, left[: settings.plan_units], max_missing=allowed)
        if len(draft.missing) > allowed or (tried is not None and not set(draft.missing) <= set(tried)):
            too_many = finished and len(draft.missing) > allowed
            return Plan(tuple(windows), tuple(left), _waiting(dataset, draft.missing, finished=too_many))
        path = window_path(dataset.name, len(windows))
        first = windows[-1].first_shard + windows[-1].num_shards if windows else 0
        windows.append(Window.decode(path, store.create(path, draft.encode(first_shard=first))))
        check_settings(store, windows[-1:], settings)
        allowed -= len(windows[-1].missing)
        left = _not_in(windows[-1:], left)


def _not_in(windows: Sequence[Window], units: Sequence[str]) -> list[str]:
    """The units that none of these windows covers, in order."""
    covered = {unit for window in windows for unit in window.units}
    return [unit for unit in units if unit not in covered]


def _waiting(dataset: Dataset, missing: Sequence[str], *, finished: bool) -> str:
    some = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
    hint = "; `emit: {allow_missing: N}` emits without them" if finished else ""
    return f"{len(missing)} units of {dataset.name} have no rows yet ({some}){hint}"


def check_keys(store: Store, windows: Sequence[Window]) -> None:
    """Raise IntegrityError if a key is planned twice: readers would join the two clips, or refuse both."""
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

    def add(self, view: View, units: Sequence[str], *, max_missing: int) -> None:
        """Add the kept clips of these units; stops where more than `max_missing` of them have no rows."""
        self.units += units
        self.missing += [unit for unit in units if not view.listed(unit)]
        for unit in units:
            if len(self.missing) > max_missing:
                return
            if unit not in self.missing:
                try:
                    self.add_fold(view.fold(unit))
                except IncompleteError:  # rows that were made from others than those that are there now
                    self.missing.append(unit)

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
            "missing": sorted(self.missing, key=self.units.index),
            "inputs": self.inputs,
            "first_shard": first_shard,
            "num_shards": len(shards),
        }
        return encode_table(PLAN_COLUMNS, rows, facts)
