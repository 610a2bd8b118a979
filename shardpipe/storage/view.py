"""The fold: layers over one base as one table a unit.

A layer's rows count only if every rows object that they were made from still has the sha256 they recorded.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

from shardpipe.core.clip import STATE
from shardpipe.core.columns import ColumnType, string
from shardpipe.core.errors import IncompleteError, IntegrityError
from shardpipe.storage.commit import in_order, numbered
from shardpipe.storage.facts import RowsFacts
from shardpipe.storage.layers import Layer, LayerRows, Row
from shardpipe.storage.lookback import DIGESTS, NAMES, names_so_far
from shardpipe.storage.parallel import for_each, num_readers
from shardpipe.storage.removed import Removed
from shardpipe.storage.rows import RowsMeta, decode_table
from shardpipe.storage.store import Store


@dataclass(frozen=True)
class Fold:
    """The folded rows of one unit.

    rows: one dict a clip of the base, in its order: every data column (None where no layer gave it), `kept`,
    `dropped_by`, `error`, then `shard` (relative to the root), `offset`, `size` of its mp4, and `members`:
    extension to MemberPlace. Those of removed clips are masked.
    inputs: path (relative to the root) to sha256 of each rows object that was read.
    """

    unit: str
    rows: list[Row]
    inputs: dict[str, str]


class View:
    """Layers over one base, as one table a unit. Listings are taken at construction and by `refresh`. They may be late: where rows
    are missing, no longer count, or have failed clips, which may have been made again, later ones are asked for by name.

    With `paths` it sees these rows objects alone, and never lists: the rows that a plan names, whatever came after. `done`: what a
    listing showed already, of each layer by name. removed: the clips that it masks; by default those of the root's list, which
    `refresh` reads again.
    """

    def __init__(
        self,
        store: Store,
        layers: list[Layer],
        *,
        paths: Collection[str] | None = None,
        done: Mapping[str, Mapping[str, str]] | None = None,
        removed: Removed | None = None,
    ) -> None:
        self.store = store
        self.layers = layers
        self.removed = Removed(store) if removed is None else removed
        self._paths = paths
        self._done = {name: dict(each) for name, each in (done or {}).items()}
        self._names: dict[tuple[str, ...], dict[str, str]] = {}
        self._mutex = Lock()
        if done is None:
            self._list()

    def refresh(self) -> None:
        """List again which rows each layer has, what was known stays; and read what was removed since."""
        self._list()
        self.removed.refresh()

    def _list(self) -> None:
        for layer in self.layers:
            known = self._done.get(layer.name, {}).values()
            self._done[layer.name] = layer.log.done(
                self._paths if self._paths is not None else [*self.store.list(layer.folder), *known]
            )
        self._names = {}

    @property
    def base(self) -> Layer:
        """The layer that has the media."""
        return self.layers[0]

    def units(self) -> list[str]:
        """The base's unit names in order, whether done or not."""
        return unit_list(self.store, self.base)

    def columns(self) -> dict[str, ColumnType]:
        """The folded data columns, in layer order."""
        found: dict[str, ColumnType] = {}
        for layer in self.layers:
            found |= layer.info.typed_columns
        return found

    def members(self) -> dict[str, str]:
        """Member extension to the layer that has it; an emitted Dataset's json and txt are not counted."""
        return {ext: layer.name for layer in self.layers for ext in layer.member_extensions(self._done[layer.name])}

    def listed(self, unit: str) -> bool:
        """Whether the listings show rows of this unit, of all its slices, in every layer: cheap, they may be stale."""
        for layer in self.layers:
            done = self._done[layer.name]
            if not layer.is_sliced:
                if unit not in done:
                    return False
            elif f"{unit}-00" not in done or any(name not in done for name in layer.slices(unit, self.num_clips(unit))):
                return False
        return True

    def done_of(self, layer: Layer) -> Mapping[str, str]:
        """The units (or slices) of one of its layers that the listing showed, each to the path of its rows."""
        return self._done[layer.name]

    def num_clips(self, unit: str) -> int:
        """How many clips the base has in this unit."""
        base = self.base.read([unit], self._done[self.base.name])
        if base is None:
            raise IncompleteError(f"{self.store.url}/{self.base.name} has no rows of unit {unit} yet")
        return len(base.rows)

    def names_so_far(self, names: Sequence[str] | None = None) -> Mapping[str, str]:
        """For each unit the digest NAMES of `lookback`, of the layers of these Datasets (default: of all)."""
        wanted = tuple(layer.name for layer in self.layers if names is None or layer.name in names)
        found = self._names.get(wanted)
        if found is None:
            found = self._names[wanted] = names_so_far(self.units(), [self._done[name] for name in wanted])
        return found

    def fold(self, unit: str, columns: Collection[str] | None = None) -> Fold:
        """The folded rows; raises IncompleteError where a layer has none yet, or has rows of inputs that changed since.

        columns: of the data only these, and no members: much quicker.
        """
        try:
            return self._fold(unit, columns)
        except IncompleteError:
            if self._paths is None and self._look_up(unit):
                return self._fold(unit, columns)
            raise

    def has_moved(self, fold: Fold) -> bool:
        """Whether clips of an emitted base lie elsewhere than this fold says, or are being moved: `remove` rewrites shards."""
        if self.base.form == "rows":
            return False
        if self.store.size(f"{self.base.name}/index.parquet") is None:
            return True
        base = self.base.read([fold.unit], self._done[self.base.name])
        now = {row["key"]: (row["shard"], row["offset"]) for row in base.rows} if base is not None else {}
        there = (
            row for row in fold.rows if row["shard"] is not None and not self.removed.has(row["key"], row.get("source"))
        )
        return any(now.get(row["key"]) != (row["shard"], row["offset"]) for row in there)

    def _look_up(self, unit: str) -> bool:
        """Ask by name for all that the fold of a unit is made of; whether some of it is there that was not known."""
        any_new = self._ask(self.base, [unit])
        if unit not in self._done[self.base.name]:
            return False
        for layer in self.layers[1:]:
            if layer.info.looks_back:  # its rows depend on the names of all rows before them
                for each in (each for each in self.layers if each.name in layer.info.inputs):
                    any_new |= self._ask(each, self._unknown(each))
            any_new |= self._ask(layer, self._slices(layer, unit))
        return any_new

    def _ask(self, layer: Layer, names: Iterable[str]) -> bool:
        """Ask by name for rows of these units (or slices) of a layer that are later than those known; whether there are any."""
        done = self._done[layer.name]
        found: dict[str, str] = {}

        def ask(name: str) -> None:
            path = layer.log.later(name, done.get(name))
            if path is not None:
                found[name] = path

        for_each(names, ask, at_once=num_readers(self.store))
        if found:
            with self._mutex:  # folds are made by several threads
                self._done[layer.name] = {**self._done[layer.name], **found}
                self._names = {}
        return bool(found)

    def _slices(self, layer: Layer, unit: str) -> list[str]:
        """The names under which a layer commits a unit of which the base has rows."""
        return layer.slices(unit, self.num_clips(unit) if layer.is_sliced else 0)

    def _unknown(self, layer: Layer) -> list[str]:
        """The units (or slices) of which no rows of a layer are known."""
        units = [unit for unit in self.units() if unit in self._done[self.base.name] or not layer.is_sliced]
        names = (name for unit in units for name in self._slices(layer, unit))
        return [name for name in names if name not in self._done[layer.name]]

    def _fold(self, unit: str, columns: Collection[str] | None) -> Fold:
        in_base = {*columns, "source"} if columns is not None and self.removed else columns
        base = self._read(self.base, [unit], in_base)
        if base is None:
            raise IncompleteError(f"{self.store.url}/{self.base.name} has no rows of unit {unit} yet")
        inputs = dict(zip(base.paths, base.sha256s, strict=True))
        rows = base.rows
        by_key = {row["key"]: row for row in rows}
        if len(by_key) != len(rows):
            raise IntegrityError(f"{self.store.url}/{base.paths[0]} has a key twice: run `shardpipe verify`")
        for layer in self.layers[1:]:
            part = self._read(layer, layer.slices(unit, len(rows)), columns)
            if part is None:
                raise IncompleteError(f"{self.store.url}/{layer.name} has no rows of unit {unit} yet")
            check_inputs(self.store, part, inputs | self._so_far(layer, unit))
            self._merge(part, by_key)
            inputs |= dict(zip(part.paths, part.sha256s, strict=True))
        empty = dict.fromkeys(self.columns() if columns is None else columns)
        folded = ({**empty, **row} for row in rows)
        return Fold(unit, [self.removed.mask(row) for row in folded] if self.removed else list(folded), inputs)

    def _read(self, layer: Layer, names: Sequence[str], columns: Collection[str] | None) -> LayerRows | None:
        """The newest rows of these slices of a layer, None unless all are there."""
        part = layer.read(names, self._done[layer.name], columns)
        if part is None or self._paths is not None:
            return part
        failed = [name for name, meta in zip(names, part.metas, strict=True) if meta.counts.get("failed")]
        return layer.read(names, self._done[layer.name], columns) if self._ask(layer, failed) else part

    def _so_far(self, layer: Layer, unit: str) -> dict[str, str]:
        """What a listing tells of the units before this one, where the layer's rows depend on them. What a plan names counts."""
        if not layer.info.looks_back or self._paths is not None:
            return {}
        return {NAMES: self.names_so_far(layer.info.inputs).get(unit, "")}

    def _merge(self, part: LayerRows, by_key: dict[str, Row]) -> None:
        for got in part.rows:
            row = by_key.get(got["key"])
            if row is None:
                raise IntegrityError(f"{self.store.url}/{part.paths[0]} has key {got['key']}, which its base has not")
            state = {name: got.pop(name) for name in STATE}
            members = got.pop("members")
            row.update(got)
            row["members"].update(members)
            row["kept"] = row["kept"] and state["kept"]
            row["dropped_by"] = row["dropped_by"] or state["dropped_by"]
            row["error"] = row["error"] or state["error"]


def stale(meta: RowsMeta | RowsFacts, inputs: Mapping[str, str]) -> str | None:
    """Why rows with these facts no longer count where their inputs are now `inputs` (path to sha256); None if they do."""
    prefixes = {path.split("/", 1)[0] for path in inputs}
    for source, sha256 in meta.inputs.items():
        if source in inputs and inputs[source] != sha256:
            return (
                "looked back at units that have other rows now"
                if source in DIGESTS
                else f"was made from another {source}"
            )
        if source not in inputs and source.split("/", 1)[0] in prefixes:
            return f"was made from {source}, since replaced by a newer generation"
    return None


def check_inputs(store: Store, part: LayerRows, inputs: Mapping[str, str]) -> None:
    """Raise IncompleteError if a slice of `part` was made from rows that are no longer those in `inputs`."""
    for path, meta in zip(part.paths, part.metas, strict=True):
        if reason := stale(meta, inputs):
            raise IncompleteError(f"{store.url}/{path} {reason}: unit {meta.unit} is to do again")


def unit_list(store: Store, base: Layer, *, with_gaps: bool = False) -> list[str]:
    """The units of a base layer: of the batches of sources, or of the plan's windows; in order, each once. IntegrityError where
    one of them is missing, unless `with_gaps`.
    """
    folder, column = ("plan", "unit_out") if base.form == "emit" else ("sources", "unit")
    names: dict[str, None] = {}
    where = f"{base.name}/{folder}"
    for path in in_order(store.list(where)) if with_gaps else numbered(store, where):
        table, _ = decode_table(store.read(path), f"{store.url}/{path}", columns={column: string})
        names.update(dict.fromkeys(table.column(column).to_pylist()))
    return list(names)
