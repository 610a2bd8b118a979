"""One stage on one batch of clips: results checked, and a bad clip found by halving, so that it costs only itself."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from shardpipe.core.columns import check_value
from shardpipe.core.errors import StageError, UnitError, for_row
from shardpipe.core.frames import FrameRequest, Frames
from shardpipe.core.stage import ClipError, ClipView, Result
from shardpipe.engine.passes.cachedframes import stage_requests
from shardpipe.engine.passes.program import StageStep
from shardpipe.storage.dataset import Row

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reused:
    """What a stage of an earlier pass found of a clip: values by column, and members by name."""

    values: Mapping[str, Any]
    members: Mapping[str, bytes]


@dataclass
class ClipState:
    """A clip on its way through a pass.

    row: its folded columns so far. new: the columns that this pass gave it. members: name to bytes.
    reused: results of an earlier pass by their ids: they stand in the row from the step on that would compute them.
    settled: its whole row, where a retry takes it from the generation before.
    unserved: frame requests that it has no frames for, and why.
    place: its number in the Dataset, where a stage looks through it.
    """

    key: str
    row: Row
    new: dict[str, Any] = field(default_factory=dict)
    members: dict[str, bytes] = field(default_factory=dict)
    reused: dict[str, Reused] = field(default_factory=dict)
    dropped_by: str | None = None
    error: str | None = None
    settled: Row | None = None
    unserved: Mapping[FrameRequest, str] = field(default_factory=dict)
    place: int | None = None

    @property
    def alive(self) -> bool:
        """Whether the clip goes on to the next step."""
        return self.dropped_by is None and self.settled is None

    def fail(self, step: StageStep, message: str) -> None:
        """Take a stage's error as its `on_error` says; raises UnitError for `fail`. A shared step's is for its readers."""
        if step.is_shared:
            self.row |= dict.fromkeys(step.columns, ClipError(message))
            return
        text = for_row(f"{step.stage.type}: {message}")  # which has no half character, as a row takes none
        if step.stage.on_error == "fail":
            raise UnitError(f"clip {self.key}: {text} (the stage has `on_error: fail`)")
        self.error = text if self.error is None else f"{self.error}; {text}"
        if step.stage.on_error == "drop":
            self.dropped_by = f"error: {step.stage.type}"
        self._write(step, dict.fromkeys(own for own, _ in step.columns.values()))

    def error_before(self, step: StageStep) -> str | None:
        """Why there is nothing that this stage could work on: frames that it, or a step for it, wants, or a shared step's
        result; None if all is there. A shared step works as long as one of those whom it works for has its frames.
        """
        if self.unserved:
            wanted = list(stage_requests(step.stage))
            refused = [self.unserved[request] for request in wanted if request in self.unserved]
            if refused and (not step.is_shared or len(refused) == len(wanted)):
                return refused[0]
        errors = [self.row[column] for column in step.shared if isinstance(self.row.get(column), ClipError)]
        return errors[0].message if errors else None

    def take(self, step: StageStep, result: Result) -> None:
        """Take a stage's result into the row."""
        if isinstance(result, ClipError):
            self.fail(step, result.message)
            return
        try:
            checked = check_result(step, result)
        except StageError as exc:
            self.fail(step, str(exc))
            return
        except Exception as exc:  # noqa: BLE001  a value may raise as it is looked at, as a generator does
            self.fail(step, f"gave a result that cannot be read: {type(exc).__name__}: {exc}")
            return
        self._write(step, checked)
        for name, (own, _) in step.members.items():
            if result.get(own) is not None:
                self.members[name] = bytes(result[own])

    def take_reused(self, step: StageStep) -> None:
        """Take a stage's result of an earlier pass into the row, if there is one."""
        old = self.reused.get(step.result_id)
        if old is not None:
            self.row |= old.values
            self.new |= old.values
            self.members |= old.members

    def _write(self, step: StageStep, values: dict[str, Any]) -> None:
        for name, (own, _) in step.columns.items():
            self.row[name] = values[own]
            if not name.startswith("_"):
                self.new[name] = values[own]


def check_result(step: StageStep, result: Result) -> dict[str, Any]:
    """The column values of a result by the stage's own names; raises StageError where the stage broke its contract."""
    if not isinstance(result, Mapping):
        raise StageError(f"a result must be a mapping of columns or a ClipError, got {type(result).__name__}")
    kinds = {own: kind for own, kind in step.columns.values()}  # noqa: C416  pairs, not keys
    members = {own for own, _ in step.members.values()}
    if extra := sorted(set(result) - set(kinds) - members):
        raise StageError(f"wrote {', '.join(extra)}, which its `writes` does not name")
    if missing := sorted(set(kinds) - set(result)):
        raise StageError(f"gave no value for {', '.join(missing)} (None is a value)")
    for own in members & set(result):
        if result[own] is not None and not isinstance(result[own], bytes | bytearray | memoryview):
            raise StageError(f"member {own}: expected bytes, got {type(result[own]).__name__}")
    # a pass-local column may hold anything: it is never stored
    return {
        own: result[own] if own.startswith("_") else check_value(own, kind, result[own]) for own, kind in kinds.items()
    }


def run_stage(step: StageStep, clips: Sequence[ClipState], frame_sets: Sequence[tuple[Frames, ...]]) -> None:
    """Run one stage on `clips` (each with the frames of the stage's own requests) and take the results in.

    It sees rows and frames read-only: other stages see the same ones.
    """
    for frame_set in frame_sets:
        seal(frame_set)
    views = [
        ClipView(clip.key, MappingProxyType(clip.row), frames, clip.place)
        for clip, frames in zip(clips, frame_sets, strict=True)
    ]
    for clip, result in zip(clips, _results(step, views), strict=True):
        clip.take(step, result)


def seal(frame_set: Sequence[Frames]) -> None:
    """Make frames read-only."""
    for frames in frame_set:
        frames.data.flags.writeable = frames.times_s.flags.writeable = False


def _results(step: StageStep, views: Sequence[ClipView]) -> Sequence[Result]:
    try:
        results = list(step.stage.process(views))
        if len(results) == len(views):
            return results
        message = f"gave {len(results)} results for {len(views)} clips"
    except Exception as exc:
        message = f"{type(exc).__name__}: {exc}"
        log.debug("stage %s raised", step.stage.type, exc_info=True)
    if len(views) == 1:
        return [ClipError(message)]
    half = len(views) // 2
    return [*_results(step, views[:half]), *_results(step, views[half:])]
