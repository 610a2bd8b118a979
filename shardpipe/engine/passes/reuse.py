"""Results of earlier passes, taken instead of computed: those of the same stage, with the same fields, on the same inputs.

A clip's results are taken where the old pass has any value in the stage's columns, and its mp4 is still the same.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from shardpipe.core.datasetstage import DatasetStage
from shardpipe.core.errors import IncompleteError
from shardpipe.core.work import UnitJob
from shardpipe.engine.passes.program import StageStep
from shardpipe.engine.passes.stagebatch import ClipState, Reused
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.dataset import Dataset, Row, View
from shardpipe.storage.members import PARTS, MemberPlace, read_member
from shardpipe.storage.rows import decode_rows
from shardpipe.storage.store import Store
from shardpipe.storage.view import stale

if TYPE_CHECKING:
    from shardpipe.engine.tasks import PassTask


class Reuse:
    """Finished columns of the passes that `reuse:` names."""

    def __init__(self, store: Store, task: "PassTask") -> None:
        self._store = store
        self._sources: list[tuple[View, list[StageStep]]] = []
        for name in task.reuse:
            dataset = Dataset.open(store, name)
            matches = _matches(dataset.info.identity.get("results", {}), task.program.stages)
            if matches:
                self._sources.append((dataset.pass_view(), matches))

    def fill(self, unit: str, clips: Sequence[ClipState]) -> None:
        """Give `clips` the old results of this unit."""
        for view, matches in self._sources:
            try:
                old = {row["key"]: row for row in view.fold(unit).rows}
            except IncompleteError:
                continue
            for clip in clips:
                row = old.get(clip.key)
                if row is not None and row["sha256"] == clip.row["sha256"]:
                    _take(self._store, clip, row, matches)


def _matches(results: Mapping[str, str], stages: Sequence[StageStep]) -> list[StageStep]:
    """Stages all of whose columns the old pass has, by the same names; none that writes pass-local ones too, and none whose
    results depend on other clips.
    """
    own = [step for step in stages if not isinstance(step.stage, DatasetStage)]
    stored = [step for step in own if step.stored and len(step.stored) == len(step.columns)]
    return [step for step in stored if all(results.get(name) == step.result_id for name in step.stored)]


def _take(store: Store, clip: ClipState, old: Row, matches: Sequence[StageStep]) -> None:
    for step in matches:
        if step.result_id in clip.reused or all(old[name] is None for name in step.stored):
            continue
        places = {name: old["members"].get(ext) for name, (_, ext) in step.members.items()}
        if None in places.values():
            continue
        members = {name: read_member(store, place) for name, place in places.items() if place is not None}
        clip.reused[step.result_id] = Reused({name: old[name] for name in step.stored}, members)


def settle(store: Store, task: "PassTask", job: UnitJob, clips: Sequence[ClipState], inputs: Mapping[str, str]) -> None:
    """For a retry: mark the clips that did not fail in the generation before, with the rows that they got there.

    inputs: what the new rows are made from. Where other clips have changed since, no result that depends on them is kept.
    """
    log = RowsLog(store, task.name)
    path = log.path(job.name, job.generation - 1)
    table, meta = decode_rows(store.read(path), f"{store.url}/{path}")
    if task.program.looking_back and stale(meta, inputs):
        return
    old = {row["key"]: row for row in table.to_pylist()}
    for clip in clips:
        row = old.get(clip.key)
        if row is None or row["error"] is not None:
            continue
        for name in task.program.members:
            offset, size, sha256 = (row.pop(f"member_{name}_{part}") for part in PARTS)
            if offset is not None and meta.members_tar is not None:
                place = MemberPlace(f"{task.name}/{meta.members_tar.name}", offset, size, sha256)
                clip.members[name] = read_member(store, place)
        clip.settled = row
