"""For tests of stages and of what uses shardpipe: a check of a stage's contract, small clips and shards, a crashing store.

from shardpipe.testing import check_stage

def test_brightness():
    results = check_stage({"type": "brightness"})
    assert results["black"] == {"brightness": 0.0}
"""

import json
import math
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from shardpipe._synthetic import clip_facts, make_clip, make_shard, synthetic_clips
from shardpipe.config.registry import stage_class
from shardpipe.core.columns import ColumnType, Member, check_value, is_column_name
from shardpipe.core.datasetstage import DatasetStage
from shardpipe.core.errors import StageError
from shardpipe.core.fingerprint import canonical_json
from shardpipe.core.frames import FrameRequest
from shardpipe.core.shared import SharedStage
from shardpipe.core.stage import ClipError, ClipView, Result, Stage
from shardpipe.media.probe import probe
from shardpipe.media.sample import sample
from shardpipe.storage.crashing import CrashingStore

__all__ = ["CrashingStore", "check_stage", "make_clip", "make_shard", "score_clip", "synthetic_clips"]

SAME = 1e-6  # relative difference of two floats that count as the same result


def check_stage(
    stage: Stage | Mapping[str, Any],
    *,
    row: Mapping[str, Any] | None = None,
    device: str = "cpu",
    tolerance: float = SAME,
) -> dict[str, Result]:
    """Runs a stage as the engine would, on small made-up clips, and gives its result for each: {name of the clip: result}.

    stage: a stage, or its config as in YAML (`{"type": "brightness"}`), which also checks that its entry point is found.
    row: values of the columns that it reads, for half of the clips; the others have null in each column, as real rows may.
    tolerance: relative difference allowed between the floats of two runs; a model's results may depend on the batch a little.

    Raises StageError where the contract is broken: config that does not survive YAML or pickle; names or types in `writes`
    that no table takes; too few results, missing or unknown columns, values of another type, NaN; results that depend
    on the batch, the order or an earlier run; inputs changed, or frames kept in a result. Steps that the stage shares are
    checked in the same way. A DatasetStage looks through these clips first, in the order of the results; those before a clip
    must be enough.
    """
    made = _made(stage)
    _check_config(made)
    _check_declared(made)
    views = synthetic_clips(made, row=row)
    for shared in made.shares:
        check_stage(shared, row=row, device=device, tolerance=tolerance)
        views = _after(shared, views, synthetic_clips(shared, row=row), device)
    if isinstance(made, DatasetStage):
        views = [replace(view, place=place) for place, view in enumerate(views)]
    fresh = pickle.loads(pickle.dumps(made))  # noqa: S301  a worker gets it so
    _set_up(fresh, views, device)
    before = pickle.dumps(views)
    results = _run(fresh, views)
    if pickle.dumps(views) != before:
        raise StageError(f"{made.type}: process changed its inputs; copy frames and rows before you write to them")
    kept = {view.key: _copied(result) for view, result in zip(views, results, strict=True)}
    singles = {view.key: _run(fresh, [view])[0] for view in views}
    _check_same(made, kept, singles, tolerance, "alone, and in a batch")
    backwards = dict(zip([view.key for view in reversed(views)], _run(fresh, views[::-1]), strict=True))
    _check_same(made, kept, backwards, tolerance, "in a batch in reverse order")
    again = _made(made)
    _set_up(again, views, device)
    _check_same(made, kept, {view.key: _run(again, [view])[0] for view in views}, tolerance, "by a second instance")
    if isinstance(made, DatasetStage):
        _check_looks_back(made, views, kept, device, tolerance)
    for view in views:  # the engine uses the frames' memory again
        for frames in view.frame_sets:
            frames.data.fill(77)
    _check_same(made, kept, dict(zip(kept, results, strict=True)), 0.0, "after its frames' memory was used again")
    return kept


def score_clip(stage: Stage | Mapping[str, Any], clip: Path | bytes, *, row: Mapping[str, Any] | None = None) -> Result:
    """A stage's result for one real video file (or its bytes), on the CPU, without a pass."""
    made = _made(stage)
    facts = probe(clip)
    width, height = facts.display_size
    known = clip_facts(width, height, facts.num_frames, float(facts.fps))
    values = dict.fromkeys(made.reads) | known | dict(row or {})
    view = ClipView("clip", values, tuple(sample(clip, made.frame_requests)))
    for shared in made.shares:
        frame_sets = tuple(sample(clip, shared.frame_requests))
        (view,) = _after(shared, [view], [ClipView("clip", values, frame_sets)], "cpu")
    if isinstance(made, DatasetStage):
        view = replace(view, place=0)
    _set_up(made, [view], "cpu")
    return _run(made, [view])[0]


def _set_up(stage: Stage, views: Sequence[ClipView], device: str, *, part_clips: int = 3) -> None:
    """As a worker sets a stage up: one that looks through the Dataset first sees `views`, so many clips at a time."""
    stage.setup(device)
    if isinstance(stage, DatasetStage):
        parts = [views[i : i + part_clips] for i in range(0, len(views), part_clips)]
        columns = ({name: [view.row[name] for view in part] for name in stage.reads} for part in parts)
        stage.look_through(columns, lambda place: views[place].key)


def _check_looks_back(
    stage: Stage, views: Sequence[ClipView], kept: Mapping[str, Result], device: str, tolerance: float
) -> None:
    """StageError where a result depends on clips that come later: new ones would change it."""
    for end in range(1, len(views) + 1):
        other = _made(stage)
        _set_up(other, views[:end], device, part_clips=1)
        found = {view.key: _run(other, [view])[0] for view in views[:end]}
        _check_same(stage, {key: kept[key] for key in found}, found, tolerance, "without the clips that come after it")


def _after(
    shared: SharedStage, views: Sequence[ClipView], shared_views: Sequence[ClipView], device: str
) -> list[ClipView]:
    """`views` with what a shared step makes of the same clips in their rows; StageError where it fails on one."""
    shared.setup(device)
    after = []
    for view, result in zip(views, _run(shared, shared_views), strict=True):
        if isinstance(result, ClipError):
            raise StageError(f"{shared.type}, clip {view.key}: {result.message}")
        after.append(replace(view, row={**view.row, **result}))
    return after


def _made(stage: Stage | Mapping[str, Any]) -> Stage:
    """A fresh stage, by way of the config that a YAML file, and a Dataset's lineage, would hold."""
    if not isinstance(stage, Stage):
        return stage_class(str(stage.get("type", ""))).model_validate(dict(stage))
    made = type(stage).model_validate(json.loads(canonical_json(stage.model_dump(mode="json"))))
    if made != stage:
        raise StageError(f"{made.type}: its fields do not survive being written as YAML: {stage!r} became {made!r}")
    if made.identity != stage.identity:
        raise StageError(
            f"{made.type}: its identity depends on the order of a mapping's keys, which are sorted where its config is stored, so "
            "that no retry could make it again; a field whose order counts is written as pairs (a field_serializer)"
        )
    return made


def _check_config(stage: Stage) -> None:
    """Frozen, refuses unknown fields, has an identity that JSON takes, survives pickle."""
    config = type(stage).model_config
    if not config.get("frozen") or config.get("extra") != "forbid":
        raise StageError(
            f"{stage.type}: a stage is frozen and forbids unknown fields; leave model_config as Stage has it"
        )
    if type(stage).model_fields["type"].default != stage.type:
        raise StageError(
            f'{stage.type}: declare its type with a default: type: Literal["{stage.type}"] = "{stage.type}"'
        )
    canonical_json(stage.identity)
    if pickle.loads(pickle.dumps(stage)) != stage:  # noqa: S301  our own bytes
        raise StageError(f"{stage.type}: it is another stage after pickle; workers get stages so")


def _check_declared(stage: Stage) -> None:
    """`writes`, `reads`, `frames` and `loads` hold what the engine takes."""
    if not stage.writes:
        raise StageError(f"{stage.type}: `writes` is empty; name at least one column")
    for name, kind in stage.writes.items():
        if not isinstance(kind, ColumnType | Member):
            raise StageError(f"{stage.type}: column {name} needs a type of shardpipe.core.columns, not {kind!r}")
        if not is_column_name(name):
            raise StageError(f"{stage.type}: {name!r} is no column name: small letters, digits and _, and not reserved")
    if isinstance(stage.reads, str) or not all(isinstance(name, str) for name in stage.reads):
        raise StageError(f"{stage.type}: `reads` is a list of column names, not {stage.reads!r}")
    for request in stage.frame_requests:
        if not isinstance(request, FrameRequest):
            raise StageError(f"{stage.type}: `frames` gives {request!r}; give a FrameRequest or a tuple of them")
    roles = [weights.role for weights in stage.loads]
    if len(set(roles)) != len(roles):
        raise StageError(f"{stage.type}: `loads` names a role twice: {', '.join(roles)}")
    if stage.writes != stage.writes or stage.frame_requests != stage.frame_requests:
        raise StageError(f"{stage.type}: `writes` and `frames` must be the same each time they are asked for")


def _run(stage: Stage, views: Sequence[ClipView]) -> list[Result]:
    """Process a batch; one whole result a clip, or StageError."""
    results = list(stage.process(views))
    if len(results) != len(views):
        raise StageError(
            f"{stage.type}: process gave {len(results)} results for {len(views)} clips; give one each, in order"
        )
    return [_checked(stage, view.key, result) for view, result in zip(views, results, strict=True)]


def _checked(stage: Stage, key: str, result: Result) -> Result:
    """A result with values as the table stores them; StageError says what does not fit."""
    where = f"{stage.type}, clip {key}"
    if isinstance(result, ClipError):
        if not result.message:
            raise StageError(f"{where}: a ClipError without a message")
        return result
    if set(result) != set(stage.writes):
        raise StageError(f"{where}: gave the columns {sorted(result)}, but `writes` names {sorted(stage.writes)}")
    for name, kind in stage.writes.items():
        value = result[name]
        if isinstance(kind, Member):
            if not isinstance(value, bytes | None):
                raise StageError(f"{where}: member {name} must be bytes or None, not {type(value).__name__}")
        elif not name.startswith("_"):  # a pass-local column may hold anything
            try:
                check_value(name, kind, value)
            except StageError as error:
                raise StageError(f"{where}: {error}") from error
    return result


def _copied(result: Result) -> Result:
    """The result apart from any memory it shares."""
    return result if isinstance(result, ClipError) else {name: _plain(value) for name, value in result.items()}


def _plain(value: Any) -> Any:  # noqa: ANN401  any column's value
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _check_same(
    stage: Stage, first: Mapping[str, Result], second: Mapping[str, Result], tolerance: float, how: str
) -> None:
    """StageError where a clip's two results differ."""
    for key, result in first.items():
        other = _copied(second[key])
        if not _alike(result, other, tolerance):
            raise StageError(f"{stage.type}, clip {key}: another result {how}: {result!r:.300}, then {other!r:.300}")


def _alike(a: Any, b: Any, tolerance: float) -> bool:  # noqa: ANN401
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return set(a) == set(b) and all(_alike(a[name], b[name], tolerance) for name in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_alike(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)
    return bool(a == b)
