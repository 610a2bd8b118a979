"""Which units of a pass are still to do. A unit is done if, and only if, its rows exist and its input has not changed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from shardpipe.config.models import CLIPS
from shardpipe.core.errors import ConfigError, IncompleteError, IntegrityError
from shardpipe.core.work import UnitJob
from shardpipe.engine.cutting.batches import read_batches, unit_costs
from shardpipe.engine.known import Known
from shardpipe.engine.ledger import Ledger
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.dataset import Dataset, Layer, View
from shardpipe.storage.facts import RowsFacts
from shardpipe.storage.lookback import DIGESTS, NAMES, OBJECTS, Chain, names_so_far
from shardpipe.storage.parallel import num_readers
from shardpipe.storage.removed import Removed
from shardpipe.storage.rows import decode_rows
from shardpipe.storage.store import Store
from shardpipe.storage.view import stale


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


def cut_todo(known: Known) -> Todo:
    """The units of `cut`, from its batches of sources."""
    costs = unit_costs(read_batches(known.store, CLIPS))
    done = RowsLog(known.store, CLIPS).done(known.listing(f"{CLIPS}/rows"))
    jobs = [UnitJob(name, cost=cost) for name, cost in costs.items() if name not in done]
    return Todo(list(costs), len(costs) - len(jobs), jobs)


def pass_todo(known: Known, dataset: Dataset, inputs: Sequence[Layer]) -> Todo:
    """The units (or slices) of a pass over these layers; the size of a unit's base rows is its cost. A unit waits while its input
    is not done, or is to do again; it is to do again itself if its rows were made from rows since replaced, unless it is
    planned: what the plan names counts. Raises IntegrityError if that is there no more. Where the pass looks back, all of that
    goes for the units before it too.
    """
    store, own = known.store, Layer(known.store, dataset.info, "rows")
    ledger = Ledger(known, [*inputs, own])
    units = ledger.units
    looked = _looked_at(ledger, own)
    ledger.read_base()
    ledger.look_up(units, inputs)
    wanted = [*looked, *(unit for unit in units[len(looked) :] if _is_to_look_at(ledger, inputs, own, unit))]
    for layer in inputs:
        ledger.read(layer, wanted, hashed=True)
    ledger.look_for_newer(wanted, inputs)
    ledger.read(own, wanted, hashed=False)
    made = _made_from(ledger, inputs, looked)
    found = [_slices(ledger, inputs, own, unit, made) for unit in units]
    gap = None
    if dataset.info.looks_back:
        there = (bool(each.slices) for each in found)
        gap = next((i for i, ok in enumerate(there) if not ok or (i < len(looked) and units[i] not in made)), None)
    if gap is not None:
        found[gap:] = [_Found({})] * (len(units) - gap)
    planned = _planned_units(known, dataset.name) if any(each.is_stale for each in found) else set()
    names: list[str] = []
    jobs = []
    done, sizes = ledger.done(own), known.listing(ledger.base.folder)
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
                cost = float(sizes[ledger.done(ledger.base)[unit]].size)
                jobs.append(UnitJob(name, cost=cost, generation=own.log.next_generation(name, done)))
    num_waiting = sum(not each.slices for each in found)
    return Todo(names, len(names) - len(jobs), jobs, num_waiting, units, None if gap is None else units[gap])


def _looked_at(ledger: Ledger, own: Layer) -> Sequence[str]:
    """The units that rows of a layer depend on, where it looks back: all up to the last one of which it has any."""
    if not own.info.looks_back:
        return ()
    there = {name.rpartition("-")[0] if own.is_sliced else name for name in ledger.done(own)}
    return ledger.units[: max((i + 1 for i, unit in enumerate(ledger.units) if unit in there), default=0)]


def _is_to_look_at(ledger: Ledger, inputs: Sequence[Layer], own: Layer, unit: str) -> bool:
    """Whether the listings alone do not say that the unit waits, or that nothing of it is done."""
    if not ledger.listed(unit, inputs):
        return False
    done = ledger.done(own)
    return any(name in done for name in ledger.slices(own, unit) or ()) or ledger.may_be_stale(unit, inputs)


def _made_from(ledger: Ledger, inputs: Sequence[Layer], units: Sequence[str]) -> dict[str, dict[str, str]]:
    """As `made_from`, by what rows objects say of themselves."""
    chain, found = Chain(), {}
    names = names_so_far(ledger.units, [ledger.done(layer) for layer in inputs]) if units else {}
    for unit in units:
        own = ledger.made_from(unit, inputs)
        if own is None:
            break
        found[unit] = {**own, NAMES: names[unit], OBJECTS: chain.add(own)}
    return found


def made_from(inputs: View, units: Sequence[str]) -> dict[str, dict[str, str]]:
    """For each of the first units what rows that look back are made from, as `RowsMeta.inputs` has it; up to the first
    unit that is not there.
    """
    if not units:
        return {}
    chain, names = Chain(), inputs.names_so_far()
    found = {}
    with ThreadPoolExecutor(num_readers(inputs.store)) as pool:
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


def _planned_units(known: Known, name: str) -> set[str]:
    """The units whose rows the plan of a pass names."""
    return {unit for window in known.windows(name) for unit in set(window.units).difference(window.missing)}


@dataclass(frozen=True)
class _Found:
    """One unit: the names of its slices, each with whether it is done; none while the unit's input is not.

    is_stale: rows of it were made from other rows than those that count now. replaced: one of those if it is of the
    same name, with other bytes.
    """

    slices: dict[str, bool]
    is_stale: bool = False
    replaced: str | None = None


def _slices(
    ledger: Ledger, inputs: Sequence[Layer], own: Layer, unit: str, made: Mapping[str, Mapping[str, str]]
) -> _Found:
    if not ledger.listed(unit, inputs):
        return _Found({})
    names, there = ledger.slices(own, unit) or [], ledger.done(own)
    if not any(name in there for name in names) and not ledger.may_be_stale(unit, inputs):
        return _Found(dict.fromkeys(names, False))
    now = made.get(unit) or ledger.made_from(unit, inputs)
    if now is None:
        return _Found({})
    done = dict.fromkeys(names, False)
    is_stale, replaced = False, None
    for name in names:
        facts = ledger.known.facts(own, there[name]) if name in there else None
        if facts is None:
            continue
        done[name] = facts.is_of(now) or stale(facts, now) is None
        is_stale |= not done[name]
        if not done[name]:
            own_inputs = {path: sha256 for path, sha256 in facts.inputs.items() if path not in DIGESTS}
            other = (path for path, sha256 in own_inputs.items() if now.get(path, sha256) != sha256)
            replaced = next(other, replaced)
    return _Found(done, is_stale=is_stale, replaced=replaced)


def _committed(known: Known, name: str) -> Iterator[tuple[str, RowsFacts]]:
    """Each unit (or slice) of which a pass has rows, and what they say."""
    layer = Layer(known.store, Dataset.open(known.store, name).info, "rows")
    done = known.done(layer)
    known.read(layer, list(done.values()), hashed=False)
    for unit, path in done.items():
        facts = known.facts(layer, path)
        if facts is not None:
            yield unit, facts


def failed_share(known: Known, name: str, units: Iterable[str] = ()) -> tuple[int, int]:
    """(failed, seen) clips of all committed rows of a pass; of these units (or slices) also where a listing lacks them. Removed
    ones have not failed.
    """
    layer = Layer(known.store, Dataset.open(known.store, name).info, "rows")
    done = known.done(layer)
    known.look_up(layer, [unit for unit in units if unit not in done])
    num_failed, num_seen, removed = 0, 0, Removed(known.store)
    for _, facts in _committed(known, name):
        num_failed += _num_failed(known.store, facts, removed)
        num_seen += facts.num_seen
    return num_failed, num_seen


def _num_failed(store: Store, facts: RowsFacts, removed: Removed) -> int:
    """The clips of a rows object that have failed, without those that were removed since."""
    if not facts.num_failed or not removed:
        return facts.num_failed
    table, _ = decode_rows(store.read(facts.path), f"{store.url}/{facts.path}", only={"key", "error"})
    pairs = zip(table.column("key").to_pylist(), table.column("error").to_pylist(), strict=True)
    return sum(error is not None and not removed.has(key) for key, error in pairs)


def kept_clips(known: Known, name: str) -> int:
    """How many clips all committed rows of a pass keep."""
    return sum(facts.num_kept for _, facts in _committed(known, name))


def failed_units(known: Known, name: str) -> list[tuple[str, int]]:
    """Units that have failed clips, and the generation that a retry of each would write."""
    log = RowsLog(known.store, name)
    ledger = Ledger(known, Dataset.open(known.store, name).pass_layers())
    ledger.read_base()
    ledger.look_up(ledger.units, ledger.layers)
    removed = Removed(known.store)
    failed = [unit for unit, facts in _committed(known, name) if _num_failed(known.store, facts, removed)]
    done = ledger.done(ledger.layers[-1])
    return [(unit, log.next_generation(unit, done)) for unit in failed]


def input_layers(store: Store, names: Sequence[str]) -> list[Layer]:
    """The layers of several Datasets over one base, each once, in order; raises ConfigError if they do not fit."""
    layers: dict[str, Layer] = {}
    bases = set()
    for name in names:
        dataset = Dataset.open(store, name)
        dataset.check_readable()
        own = dataset.next_layers()
        bases.add((own[0].name, own[0].form))
        layers |= {layer.name: layer for layer in own}
    if len(bases) > 1:
        listed = ", ".join(sorted(base for base, _ in bases))
        raise ConfigError(f"{', '.join(names)} have different bases ({listed}): a pass folds layers over one base")
    return list(layers.values())
