"""Which units of a pass are still to do. A unit is done if, and only if, its rows exist and its input has not changed."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from shardpipe.config.models import CLIPS
from shardpipe.core.clip import STATE
from shardpipe.core.errors import ConfigError, IncompleteError, IntegrityError
from shardpipe.core.work import UnitJob
from shardpipe.engine.batches import read_batches, unit_costs
from shardpipe.engine.counts import count
from shardpipe.engine.emitplan import read_windows
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.dataset import Dataset, Layer, View
from shardpipe.storage.lookback import DIGESTS, NAMES, OBJECTS, Chain
from shardpipe.storage.removed import Removed
from shardpipe.storage.rows import decode_meta, decode_rows
from shardpipe.storage.store import Store
from shardpipe.storage.view import stale

READERS = 8


@dataclass(frozen=True)
class Todo:
    """The units of one pass: all names, how many are done, the jobs left, and how many wait for their input.

    inputs: the input's units that they are (slices) of. gap: of a pass that looks back, the first of these that is not there: no
    unit from it on can be done.
    """

    names: list[str]
    num_done: int
    jobs: list[UnitJob]
    num_waiting: int = 0
    inputs: Sequence[str] = ()
    gap: str | None = None

    @property
    def why_gap(self) -> str:
        """What to add where one says that units wait; empty where each waits for itself."""
        if self.gap is None:
            return ""
        return f": unit {self.gap} is not there, and its stages look through all units up to a clip's own"

    def limited(self, limit: int | None) -> "Todo":
        """At most the first `limit` units of the list."""
        if limit is None:
            return self
        wanted = set(self.names[:limit])
        jobs = [job for job in self.jobs if job.name in wanted]
        return replace(self, jobs=jobs, num_waiting=self.num_waiting + len(self.jobs) - len(jobs))


def cut_todo(store: Store) -> Todo:
    """The units of `cut`, from its batches of sources."""
    costs = unit_costs(read_batches(store, CLIPS))
    done = RowsLog(store, CLIPS).done()
    jobs = [UnitJob(name, cost=cost) for name, cost in costs.items() if name not in done]
    return Todo(list(costs), len(costs) - len(jobs), jobs)


def pass_todo(store: Store, dataset: Dataset, inputs: View) -> Todo:
    """The units (or slices) of a pass; the size of a unit's base rows is its cost. A unit waits while its input is not
    done, or is to do again; it is to do again itself if its rows were made from rows since replaced, unless it is
    planned: what the plan names counts. Raises IntegrityError if that is there no more. Where the pass looks back, all of that
    goes for the units before it too.
    """
    view = dataset.pass_view()
    own = view.layers[-1]
    sizes = store.list(f"{view.base.name}/{view.base.form}")
    units = inputs.units()
    looked = _looked_at(view, units)
    known = made_from(inputs, looked)
    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(lambda unit: _slices(view, inputs, unit, known), units))
    gap = None
    if dataset.info.looks_back:
        there = (bool(each.slices) for each in found)
        gap = next((i for i, ok in enumerate(there) if not ok or (i < len(looked) and units[i] not in known)), None)
    if gap is not None:
        found[gap:] = [_Found({})] * (len(units) - gap)
    planned = _planned_units(store, dataset.name) if any(each.is_stale for each in found) else set()
    names: list[str] = []
    jobs = []
    done = view.done_of(own)  # one listing for both: a later one may show what another driver did meanwhile
    for unit, each in zip(units, found, strict=True):
        is_planned = each.is_stale and unit in planned
        if is_planned and each.replaced is not None:
            raise IntegrityError(
                f"{store.url}/{each.replaced} is not what it was when the shards of {dataset.name} were planned from it: "
                "that Dataset was made again, and shards are never replaced. Restore that object, or remove "
                f"{store.url}/{dataset.name} (or name the pass otherwise) and run again"
            )
        for name, is_done in each.slices.items():
            names.append(name)
            if not is_done and not is_planned:
                cost = float(sizes.get(view.done_of(view.base)[unit], 1))
                jobs.append(UnitJob(name, cost=cost, generation=own.log.next_generation(name, done)))
    num_waiting = sum(not each.slices for each in found)
    return Todo(names, len(names) - len(jobs), jobs, num_waiting, units, None if gap is None else units[gap])


def _looked_at(view: View, units: Sequence[str]) -> Sequence[str]:
    """The units that rows of the last layer depend on, where it looks back: all up to the last one of which it has any."""
    own = view.layers[-1]
    if not own.info.looks_back:
        return ()
    there = {name.rpartition("-")[0] if own.is_sliced else name for name in view.done_of(own)}
    return units[: max((i + 1 for i, unit in enumerate(units) if unit in there), default=0)]


def made_from(inputs: View, units: Sequence[str]) -> dict[str, dict[str, str]]:
    """For each of the first units what rows that look back are made from, as `RowsMeta.inputs` has it; up to the first
    unit that is not there.
    """
    if not units:
        return {}
    chain, names = Chain(), inputs.names_so_far()
    found = {}
    with ThreadPoolExecutor(READERS) as pool:
        for unit, own in zip(units, pool.map(lambda unit: _inputs_of(inputs, unit), units), strict=True):
            if own is None:
                break
            found[unit] = {**own, NAMES: names[unit], OBJECTS: chain.add(own)}
    return found


def _inputs_of(inputs: View, unit: str) -> dict[str, str] | None:
    try:
        return inputs.fold(unit, ()).inputs
    except IncompleteError:
        return None


def _planned_units(store: Store, name: str) -> set[str]:
    """The units whose rows the plan of a pass names."""
    return {unit for window in read_windows(store, name) for unit in window.units if unit not in window.missing}


@dataclass(frozen=True)
class _Found:
    """One unit: the names of its slices, each with whether it is done; none while the unit's input is not.

    is_stale: rows of it were made from other rows than those that count now. replaced: one of those if it is of the
    same name, with other bytes.
    """

    slices: dict[str, bool]
    is_stale: bool = False
    replaced: str | None = None


def _slices(view: View, inputs: View, unit: str, known: Mapping[str, Mapping[str, str]]) -> _Found:
    if not inputs.listed(unit):
        return _Found({})
    own = view.layers[-1]
    names = own.slices(unit, view.num_clips(unit)) if own.is_sliced else [unit]
    there = [name for name in names if name in view.done_of(own)]
    if not there and not inputs.may_be_stale(unit):
        return _Found(dict.fromkeys(names, False))
    try:
        now = known.get(unit) or view.made_from(unit)
    except IncompleteError:
        return _Found({})
    done = dict.fromkeys(names, False)
    replaced = None
    for name in there:
        part = own.read([name], view.done_of(own))
        for meta in part.metas if part is not None else ():
            done[name] = stale(meta, now) is None
            own_inputs = {path: sha256 for path, sha256 in meta.inputs.items() if path not in DIGESTS}
            other = (path for path, sha256 in own_inputs.items() if now.get(path, sha256) != sha256)
            replaced = next(other, replaced)
    return _Found(done, is_stale=not all(done[name] for name in there), replaced=replaced)


def failed_share(store: Store, name: str) -> tuple[int, int]:
    """(failed, seen) clips of all committed rows of a pass; removed ones have not failed."""
    counts = _counts(store, name)
    return sum(int(each["failed"]) for each in counts), sum(int(each["seen"]) for each in counts)


def kept_clips(store: Store, name: str) -> int:
    """How many clips all committed rows of a pass keep."""
    return sum(int(each["kept"]) for each in _counts(store, name))


def _counts(store: Store, name: str) -> list[Mapping[str, Any]]:
    """The counts of all committed rows of a pass, by several readers."""
    paths, removed = list(RowsLog(store, name).done().values()), Removed(store)
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(lambda path: _counts_of(store, path, removed), paths))


def _counts_of(store: Store, path: str, removed: Removed) -> Mapping[str, Any]:
    """The counts of a rows object as they are without the clips that were removed since."""
    data, where = store.read(path), f"{store.url}/{path}"
    if not removed:
        return decode_meta(data, where).counts
    table, _ = decode_rows(data, where, only={"key", "source", "duration_s", *STATE})
    return count([removed.mask(row) for row in table.to_pylist()])


def failed_units(store: Store, name: str) -> list[tuple[str, int]]:
    """Units that have failed clips, and the generation that a retry of each would write."""
    log, removed = RowsLog(store, name), Removed(store)
    found = []
    for unit, generation in log.generations().items():
        if _counts_of(store, log.path(unit, generation), removed)["failed"]:
            found.append((unit, generation + 1))
    return found


def input_layers(store: Store, names: Sequence[str]) -> list[Layer]:
    """The layers of several Datasets over one base, each once, in order; raises ConfigError if they do not fit."""
    layers: dict[str, Layer] = {}
    bases = set()
    for name in names:
        own = Dataset.open(store, name).next_view().layers
        bases.add((own[0].name, own[0].form))
        layers |= {layer.name: layer for layer in own}
    if len(bases) > 1:
        listed = ", ".join(sorted(base for base, _ in bases))
        raise ConfigError(f"{', '.join(names)} have different bases ({listed}): a pass folds layers over one base")
    return list(layers.values())
