"""A run from end to end: cut, then each pass's rows, plan and shards, over an executor. What is committed is never redone."""

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Protocol

from shardpipe.config.models import CLIPS, Config
from shardpipe.config.parts import EmitConfig
from shardpipe.core.errors import ConfigError, PassFailed
from shardpipe.core.report import RunReport
from shardpipe.core.work import Outcome, Progress, Silent, UnitJob
from shardpipe.engine.cutting.batches import add_batch, first_batch, list_added
from shardpipe.engine.emission.emitplan import make_plan
from shardpipe.engine.emission.index import finish
from shardpipe.engine.emission.plansettings import PlanSettings
from shardpipe.engine.emission.written import written
from shardpipe.engine.known import Known
from shardpipe.engine.prepare import (
    Prepared,
    PreparedPass,
    cut_task,
    ensure_dataset,
    pass_task,
    passthrough_columns,
    prepare,
)
from shardpipe.engine.sources.captionfiles import with_captions
from shardpipe.engine.sources.sources import Listing
from shardpipe.engine.tasks import EmitTask
from shardpipe.engine.timings import TimingLog
from shardpipe.engine.units import Todo, cut_todo, failed_share, input_layers, pass_todo
from shardpipe.engine.worker import Task
from shardpipe.executors.driver import driving
from shardpipe.executors.inline import InlineExecutor
from shardpipe.executors.local import LocalExecutor
from shardpipe.executors.placing import cache_of, execute_with, executor_for, num_decoders, scratch_of
from shardpipe.media.encode import check_encoder
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.scratch import ScratchSettings
from shardpipe.storage.store import Store, open_store

HERE_SHARDS = 4
"""So few shards are written in this process, where no worker has to start; what fails there is tried in a worker."""


class Executor(Protocol):
    """Places workers and hands out units."""

    def run(self, task: Task, jobs: Sequence[UnitJob], progress: Progress) -> Generator[Outcome, None, None]:
        """Do all jobs, and give an Outcome for each as it ends; closing it ends the workers."""


@dataclass
class _Run:
    """One run's state: what is complete, what is not and why. executor: of all phases; None: as the config asks."""

    known: Known
    config: Config
    executor: Executor | None
    progress: Progress
    limit: int | None = None
    partial: bool = False
    complete: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        """The root's."""
        return self.known.store

    def phase(self, task: Task, todo: Todo) -> None:
        """Do the units of one phase that are left."""
        self.progress.phase(task.name, task.phase, num_units=len(todo.names), num_done=todo.num_done)
        if todo.jobs:
            timings = TimingLog(self.store, task.name, task.phase)
            try:
                self._do(task, todo, timings)
            finally:
                timings.flush()
                self.known.relist()

    def _do(self, task: Task, todo: Todo, timings: TimingLog) -> None:
        started, jobs = time.time(), todo.jobs
        executor = self.executor or executor_for(self.config.execute, self.store, phase=task.phase, needs=task.needs)
        if task.phase == "emit" and isinstance(executor, LocalExecutor) and len(jobs) <= HERE_SHARDS:
            jobs = []
            with closing(InlineExecutor(self.store).run(task, todo.jobs, self.progress)) as outcomes:
                for job, outcome in zip(todo.jobs, outcomes, strict=True):
                    if outcome.error is None:
                        self._end(task, outcome, started, timings)
                    else:
                        self.progress.note(f"unit {job.name} failed, tried again: {outcome.error}")
                        jobs.append(job)
        if jobs:
            with closing(executor.run(task, jobs, self.progress)) as outcomes:  # its workers end with it
                for outcome in outcomes:
                    self._end(task, outcome, started, timings)

    def _end(self, task: Task, outcome: Outcome, started_s: float, timings: TimingLog) -> None:
        if outcome.error is not None:
            self.failed[f"{task.name}/{outcome.unit}"] = outcome.error
        elif not outcome.was_done:
            now = time.time()
            timings.add(outcome, started_s=max(started_s, now - outcome.usage.wall_s), ended_s=now)
        self.progress.unit(outcome)

    def failed_of(self, name: str) -> bool:
        """Whether a unit of this pass failed in this run."""
        return any(unit.startswith(f"{name}/") for unit in self.failed)

    def check_failures(self, name: str, max_failed: float, units: Sequence[str]) -> None:
        """Raise PassFailed if more clips failed than the pass allows."""
        num_failed, num_seen = failed_share(self.known, name, units)
        if num_failed > max_failed * num_seen:
            raise PassFailed(
                f"{name}: {num_failed} of {num_seen} clips failed, more than max_failed = {max_failed:g} allows: "
                "see `shardpipe status ROOT`, then "
                "`shardpipe retry ROOT`, or raise max_failed"
            )


def run_config(
    config: Config,
    *,
    only: str | None = None,
    limit: int | None = None,
    partial: bool = False,
    add_sources: str | None = None,
    progress: Progress | None = None,
    store: Store | None = None,
    executor: Executor | None = None,
) -> RunReport:
    """Do what is left to do of `config`.

    only: run this pass alone. limit: stop each phase after so many units. partial: run later passes on what earlier
    ones have so far; nothing is emitted then. add_sources: append the videos there as a new batch first.
    Raises ConfigError before anything ran, PassFailed where more clips failed than a pass allows.
    """
    store = store or open_store(config.root, scratch=scratch_of(config.execute))
    check_only(config, only)
    known = Known(store, keeps=True)
    prepared = prepare(store, config, only=only, adding=add_sources is not None, known=known)
    added = list_asked(store, prepared, only, add_sources)
    run = _Run(known, config, executor, progress or Silent(), limit, partial)
    with driving(store):
        _run_all(run, prepared, only, add_sources, added)
    return RunReport(config.root, tuple(run.complete), run.failed, run.pending)


def _run_all(run: _Run, prepared: Prepared, only: str | None, add_sources: str | None, added: Listing | None) -> None:
    run.known.asks = True
    names = [CLIPS, *(each.config.name for each in prepared.passes)] if only is None else [only]
    run.known.list_all(f"{name}/rows" for name in names)
    if run.config.cut is not None and only in (None, CLIPS):
        _run_cut(run, prepared, add_sources, added)
    elif not cut_todo(run.known).jobs:
        run.complete.append(CLIPS)
    for each in prepared.passes:
        if only in (None, each.config.name) and _inputs_ready(run, each):
            _run_pass(run, each)


def check_only(config: Config, only: str | None) -> None:
    """Raise ConfigError where `--pass` names none of the config."""
    names = [CLIPS, *(each.name for each in config.passes)]
    if only is not None and only not in names:
        raise ConfigError(f"--pass {only}: there is no such pass; one of {', '.join(names)}")


def list_asked(store: Store, prepared: Prepared, only: str | None, add_sources: str | None) -> Listing | None:
    """What `--add-sources` names, if it is given; raises ConfigError where it cannot be obeyed."""
    if add_sources is None:
        return None
    if prepared.cut is None:
        raise ConfigError("--add-sources: the config has no `cut`")
    if only not in (None, CLIPS):
        raise ConfigError(f"--add-sources: --pass {only} cuts nothing; leave out --pass, or give --pass {CLIPS}")
    return list_added(store, add_sources, passthrough_columns(prepared.clips.info), prepared.cut.captions)


def _run_cut(run: _Run, prepared: Prepared, add_sources: str | None, added: Listing | None) -> None:
    assert prepared.cut is not None
    check_encoder(prepared.cut.write)
    listing = None if prepared.listing is None else with_captions(prepared.listing, prepared.cut.captions)
    info = ensure_dataset(run.store, prepared.clips.info)
    if listing is not None:
        first_batch(run.store, prepared.cut, listing, passthrough_columns(prepared.clips.info))
    if add_sources is not None and added is not None:
        count = add_batch(run.store, prepared.cut, added, passthrough_columns(prepared.clips.info), url=add_sources)
        run.progress.note(f"{count} new videos at {add_sources}")
        run.known.relist()
    todo = cut_todo(run.known).limited(run.limit)
    run.phase(replace(cut_task(prepared, run.config), cache=cache_of(run.config.execute)), todo)
    if run.failed_of(CLIPS):
        run.pending[CLIPS] = "units failed; run again to try them again"
    elif todo.num_waiting:
        run.pending[CLIPS] = f"--limit left {todo.num_waiting} units"
    else:
        run.check_failures(info.name, prepared.cut.max_failed, todo.names)
        run.complete.append(CLIPS)


def _inputs_ready(run: _Run, each: PreparedPass) -> bool:
    """Whether the pass may run: its inputs are complete, or `--partial` or `--limit` take them as they are."""
    missing = [name for name in each.config.inputs if name in run.pending]
    emitted = [name for name in missing if _is_emitted(run.config, name)]
    if not missing or (not emitted and (run.partial or run.limit is not None)):
        return True
    run.pending[each.config.name] = f"{', '.join(missing)} is not complete"
    return False


def _is_emitted(config: Config, name: str) -> bool:
    named = config.pass_named(name)
    return named is not None and named.emit.kind == "shards"


def _run_pass(run: _Run, each: PreparedPass) -> None:
    name = each.config.name
    inputs = input_layers(run.store, each.config.inputs)
    info = ensure_dataset(run.store, each.shape.info)
    dataset = Dataset(run.store, info)
    todo = pass_todo(run.known, dataset, inputs).limited(run.limit)
    decoders = num_decoders(run.config.execute, each.program.needs) if todo.jobs else 0
    run.phase(pass_task(each, info, run.config, decoders=decoders), todo)
    if run.failed_of(name):
        run.pending[name] = "units failed; run again to try them again"
    elif todo.num_waiting:
        run.pending[name] = f"{todo.num_waiting} units were left out, or wait for their input{todo.why_gap}"
    if info.emit == "shards" and (run.partial or run.limit is not None):
        run.pending.setdefault(name, "nothing is emitted with --partial or --limit")
        return
    finished = not todo.num_waiting
    if info.emit == "shards" or (finished and not run.failed_of(name)):
        run.check_failures(name, each.config.max_failed, todo.names)
    if info.emit == "shards":
        _emit(run, dataset, PlanSettings.of(each.config), finished=finished, tried=todo.inputs)
    if name not in run.pending:
        run.complete.append(name)


def _emit(
    run: _Run, dataset: Dataset, settings: PlanSettings, *, finished: bool, tried: Sequence[str] | None = None
) -> None:
    """Plan what can be planned, write its shards, and the index once all are there."""
    name, failed_before = dataset.name, len(run.failed)
    plan = make_plan(dataset, settings, finished=finished, tried=tried, known=run.known)
    if plan.windows:
        done = written(run.store, name, plan.windows)
        units = plan.shard_units
        jobs = [UnitJob(unit) for unit in units if unit not in done]
        run.phase(EmitTask(name), Todo(units, len(units) - len(jobs), jobs))
    if not plan.is_whole:
        run.pending[name] = plan.waiting_for
    elif len(run.failed) > failed_before:
        run.pending[name] = "shards failed; run again to try them again"
    else:
        run.pending.pop(name, None)
        finish(run.store, name, known=run.known)


def emit_pass(
    root: str,
    name: str,
    settings: EmitConfig,
    *,
    shard_bytes: int,
    progress: Progress | None = None,
    scratch: ScratchSettings | None = None,
) -> RunReport:
    """Emit shards of a finished pass from its committed rows; raises ConfigError or IncompleteError."""
    Dataset.there(open_store(root, read_only=True), name)  # a wrong root is told before a folder is made there
    store = open_store(root, scratch=scratch)
    dataset = Dataset.open(store, name)
    config = Config.model_validate(
        {
            "root": root,
            "passes": [{"name": "unused", "from": CLIPS, "emit": "rows"}],
            "execute": execute_with(scratch).model_dump(),
        }
    )
    run = _Run(Known(store, keeps=True), config, None, progress or Silent())
    run.known.asks = True
    with driving(store):
        _emit(run, dataset, PlanSettings.of_emit(settings, shard_bytes), finished=True)
    if name in run.pending:
        errors = "; ".join(run.failed.values())
        raise PassFailed(f"{root}/{name} is not emitted: {errors or run.pending[name]}")
    return RunReport(root, (name,), run.failed, run.pending)
