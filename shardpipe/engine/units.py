"""Which units of a pass are still to do. A unit is done if, and only if, its rows exist and its input has not changed."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from shardpipe.config.models import CLIPS
from shardpipe.core.errors import IncompleteError, ShardpipeError
from shardpipe.core.work import UnitJob
from shardpipe.engine.batches import read_units
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.dataset import Dataset, Layer, View
from shardpipe.storage.rows import decode_meta
from shardpipe.storage.store import Store
from shardpipe.storage.view import stale

READERS = 8


@dataclass(frozen=True)
class Todo:
    """The units of one pass: all names, how many are done, the jobs left, and how many wait for their input."""

    names: list[str]
    num_done: int
    jobs: list[UnitJob]
    num_waiting: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left."""
        return not self.jobs and not self.num_waiting

    def limited(self, limit: int | None) -> "Todo":
        """At most the first `limit` units of the list."""
        if limit is None:
            return self
        wanted = set(self.names[:limit])
        jobs = [job for job in self.jobs if job.name in wanted]
        return Todo(self.names, self.num_done, jobs, self.num_waiting + len(self.jobs) - len(jobs))


def cut_todo(store: Store) -> Todo:
    """The units of `cut`, from its batches of sources."""
    units = read_units(store, CLIPS)
    done = RowsLog(store, CLIPS).done()
    jobs = [
        UnitJob(name, cost=sum(part["cost"] or 0.0 for part in parts))
        for name, parts in units.items()
        if name not in done
    ]
    return Todo(list(units), len(units) - len(jobs), jobs)


def pass_todo(store: Store, dataset: Dataset, inputs: View) -> Todo:
    """The units (or slices) of a pass; the size of a unit's base rows is its cost. A unit waits while its input is not
    done, or is to do again; it is to do again itself if its rows were made from rows since replaced.
    """
    view = dataset.pass_view()
    own = view.layers[-1]
    sizes = store.list(f"{view.base.name}/{view.base.form}")
    units = inputs.units()
    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(lambda unit: _slices(view, inputs, unit), units))
    names: list[str] = []
    jobs = []
    done = view.done_of(own)  # one listing for both: a later one may show what another driver did meanwhile
    for unit, slices in zip(units, found, strict=True):
        for name, is_done in slices.items():
            names.append(name)
            if not is_done:
                cost = float(sizes.get(view.done_of(view.base)[unit], 1))
                jobs.append(UnitJob(name, cost=cost, generation=own.log.next_generation(name, done)))
    return Todo(names, len(names) - len(jobs), jobs, sum(not slices for slices in found))


def _slices(view: View, inputs: View, unit: str) -> dict[str, bool]:
    """The names of a unit's slices, each with whether it is done; none while the unit's input is not."""
    if not inputs.listed(unit):
        return {}
    own = view.layers[-1]
    names = own.slices(unit, view.num_clips(unit)) if own.is_sliced else [unit]
    there = [name for name in names if name in view.done_of(own)]
    if not there and not inputs.may_be_stale(unit):
        return dict.fromkeys(names, False)
    try:
        made_from = view.fold_below(unit).inputs
    except IncompleteError:
        return {}
    done = dict.fromkeys(names, False)
    for name in there:
        part = own.read([name], view.done_of(own))
        done[name] = part is not None and all(stale(meta, made_from) is None for meta in part.metas)
    return done


def failed_share(store: Store, name: str) -> tuple[int, int]:
    """(failed, seen) clips of all committed rows of a pass."""
    paths = list(RowsLog(store, name).done().values())
    with ThreadPoolExecutor(READERS) as pool:
        counts = list(pool.map(lambda path: decode_meta(store.read(path)).counts, paths))
    return sum(int(each["failed"]) for each in counts), sum(int(each["seen"]) for each in counts)


def failed_units(store: Store, name: str) -> list[tuple[str, int]]:
    """Units that have failed clips, and the generation that a retry of each would write."""
    log = RowsLog(store, name)
    found = []
    for unit, generation in log.generations().items():
        if decode_meta(store.read(log.path(unit, generation))).counts["failed"]:
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
        raise ShardpipeError(f"{', '.join(names)} have different bases ({listed}): a pass folds layers over one base")
    return list(layers.values())
