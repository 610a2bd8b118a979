"""What a run would do now: `plan` and `run --dry-run`. Checks what the run checks, and changes nothing."""

from collections.abc import Sequence
from dataclasses import replace

from shardpipe.config.models import CLIPS, Config
from shardpipe.core.errors import IncompleteError
from shardpipe.core.report import PlannedPhase, PlanReport
from shardpipe.core.work import Phase, UnitJob, Usage
from shardpipe.engine.cutting.batches import num_new
from shardpipe.engine.emission.written import written
from shardpipe.engine.known import Known
from shardpipe.engine.prepare import PreparedPass, prepare
from shardpipe.engine.timings import Timing, read_timings, total
from shardpipe.engine.units import Todo, cut_todo, input_layers, kept_clips, pass_todo
from shardpipe.executors.run import check_only, list_asked
from shardpipe.media.encode import check_encoder
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.store import Store, open_store


def plan_config(
    config: Config,
    *,
    only: str | None = None,
    limit: int | None = None,
    partial: bool = False,
    add_sources: str | None = None,
    store: Store | None = None,
) -> PlanReport:
    """What `run_config` would do now, with the same arguments; checks everything and changes nothing."""
    store = store or open_store(config.root, read_only=True)
    known = Known(store)
    check_only(config, only)
    prepared = prepare(store, config, only=only, adding=add_sources is not None, known=known)
    added = list_asked(store, prepared, only, add_sources)
    phases: list[PlannedPhase] = []
    spent: list[Usage] = []

    def add(name: str, phase: Phase, todo: Todo | None, limit: int | None = None) -> None:
        timings = read_timings(store, name, phase)
        spent.append(total(timings))
        phases.append(_planned(timings, name, phase, todo, limit))

    if prepared.cut is not None and only in (None, CLIPS):
        check_encoder(prepared.cut.write)
        add(CLIPS, "cut", cut_todo(known) if prepared.listing is None else None, limit)
    for each in prepared.passes:
        name = each.config.name
        if only not in (None, name):
            continue
        rows_todo = _pass_todo_if_any(known, each)
        add(name, "rows", rows_todo, limit)
        gap = rows_todo.gap if rows_todo is not None else None
        phases[-1] = replace(phases[-1], decoding=each.program.decoding, gap=gap)
        if each.shape.info.emit == "shards" and not partial and limit is None:
            add(name, "emit", _emit_todo_if_any(known, name))
    videos = prepared.listing.videos if prepared.listing is not None else ()
    return PlanReport(
        config.root,
        tuple(phases),
        num_new_videos=None if added is None else num_new(store, added, videos),
        num_videos=len(videos) if prepared.listing is not None else None,
        num_source_bytes=sum(video.size or 0 for video in videos) if prepared.listing is not None else None,
        spent=sum(spent, Usage()),
        num_kept=_num_kept(known, phases) if config.prices is not None else None,
    )


def _num_kept(known: Known, phases: Sequence[PlannedPhase]) -> int | None:
    """The clips that the last of these passes will keep, by what it kept of its units so far."""
    last = next((each for each in reversed(phases) if each.phase != "emit"), None)
    if last is None or not last.num_units or not last.num_done:
        return None
    return round(kept_clips(known, last.name) * last.num_units / last.num_done)


def _pass_todo_if_any(known: Known, each: PreparedPass) -> Todo | None:
    """The units of a pass, None while its input does not exist."""
    try:
        inputs = input_layers(known.store, each.config.inputs)
        return pass_todo(known, Dataset(known.store, each.shape.info), inputs)
    except IncompleteError:
        return None


def _emit_todo_if_any(known: Known, name: str) -> Todo | None:
    """The shards of a pass, None while they are not planned."""
    units = [unit for window in known.windows(name) for unit in window.shard_units]
    if not units:
        return None
    done = written(known.store, name, known.windows(name))
    jobs = [UnitJob(unit) for unit in units if unit not in done]
    return Todo(units, len(units) - len(jobs), jobs)


def _planned(timings: Sequence[Timing], name: str, phase: Phase, todo: Todo | None, limit: int | None) -> PlannedPhase:
    if todo is None:
        return PlannedPhase(name, phase)
    num_units = len(todo.names) + todo.num_waiting
    num_left = len(todo.jobs) + todo.num_waiting
    if limit is not None:
        num_left = len(todo.limited(limit).jobs) + min(todo.num_waiting, max(0, limit - len(todo.names)))
    if not num_left:
        return PlannedPhase(name, phase, num_units, todo.num_done, 0, Usage())
    if not timings:
        return PlannedPhase(name, phase, num_units, todo.num_done)
    share = num_left / len(timings)
    num_clips = round(sum(timing.num_clips for timing in timings) * share)
    return PlannedPhase(name, phase, num_units, todo.num_done, num_clips, total(timings).times(share))
