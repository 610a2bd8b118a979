"""`retry`: only the clips that failed, again, as a complete new generation of their units' rows.

Everything that a retry needs is in `dataset.json`, so it runs without the config. It is refused for rows that a plan
was made from: shards are never replaced, so their rows may not change either.
"""

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from pydantic import ValidationError

from shardpipe.config.models import CLIPS
from shardpipe.config.parts import ExecuteConfig, ScenesConfig
from shardpipe.config.registry import stage_class
from shardpipe.core.cutting import WriteSpec
from shardpipe.core.errors import ConfigError
from shardpipe.core.report import RunReport
from shardpipe.core.stage import Stage
from shardpipe.core.work import Progress, Silent, UnitJob
from shardpipe.engine.cutting.scenesettings import scenes_identity
from shardpipe.engine.emission.window import window_path
from shardpipe.engine.known import Known
from shardpipe.engine.passes.passweights import hashes_like
from shardpipe.engine.passes.program import compile_program
from shardpipe.engine.prepare import passthrough_columns
from shardpipe.engine.tasks import CutTask, PassTask
from shardpipe.engine.units import failed_units, input_layers
from shardpipe.engine.views.report import all_datasets, ancestry
from shardpipe.engine.worker import Task
from shardpipe.executors.driver import driving
from shardpipe.executors.placing import execute_with, executor_for, num_decoders
from shardpipe.storage.dataset import Dataset, DatasetInfo, UsedWeights, View
from shardpipe.storage.scratch import ScratchSettings
from shardpipe.storage.store import Store, open_store


def retry_root(root: str, *, progress: Progress | None = None, scratch: ScratchSettings | None = None) -> RunReport:
    """Redo the failed clips of every Dataset of a root, inputs first; raises ConfigError where that is refused."""
    names = Dataset.names(open_store(root, read_only=True))  # a wrong root is told before a folder is made there
    store, execute = open_store(root, scratch=scratch), execute_with(scratch)
    known = Known(store, keeps=True)
    known.asks = True
    progress = progress or Silent()
    datasets = all_datasets(store, names)
    refused: dict[str, str] = {}
    failed: dict[str, str] = {}
    done = []
    for dataset in datasets:
        units = failed_units(known, dataset.name)
        if not units:
            continue
        planned = [
            other.name for other in datasets if dataset.name in ancestry(store, other.name) and _is_planned(other)
        ]
        if planned:
            refused[dataset.name] = (
                f"its failed clips are not retried: the shards of {', '.join(planned)} are planned from its rows, and "
                "shards are never replaced. Cut or score them under another name"
            )
            continue
        with driving(store):
            failed |= _retry(store, dataset, units, execute, progress)
        known.relist()
        done.append(dataset.name)
    if refused and not done:
        raise ConfigError("; ".join(f"{name}: {why}" for name, why in refused.items()))
    return RunReport(root, tuple(done), failed, refused)


def _retry(
    store: Store, dataset: Dataset, units: list[tuple[str, int]], execute: ExecuteConfig, progress: Progress
) -> dict[str, str]:
    task = _task(store, dataset)
    jobs = [UnitJob(unit, generation=generation, retry=True) for unit, generation in units]
    progress.phase(task.name, task.phase, num_units=len(jobs), num_done=0)
    executor = executor_for(execute, store, phase=task.phase, needs=task.needs)
    failed = {}
    with closing(executor.run(task, jobs, progress)) as outcomes:  # its workers end with it
        for outcome in outcomes:
            if outcome.error is not None:
                failed[f"{task.name}/{outcome.unit}"] = outcome.error
            progress.unit(outcome)
    return failed


def _is_planned(dataset: Dataset) -> bool:
    return dataset.store.size(window_path(dataset.name, 0)) is not None


def _task(store: Store, dataset: Dataset) -> Task:
    info = dataset.info
    return _cut_task(info) if info.kind == "cut" else _pass_task(store, info)


def _cut_task(info: DatasetInfo) -> CutTask:
    scenes = info.identity["scenes"]
    parts = {**_without_version(scenes["detector"]), **scenes["policy"]}
    found = ScenesConfig.model_validate(parts)
    if scenes_identity(found.detector, found.policy) != scenes:
        raise ConfigError(f"{CLIPS}: the detector {found.detector.type} has changed since: cut under another root")
    return CutTask(
        name=info.name,
        fingerprint=info.fingerprint,
        detector=found.detector,
        policy=found.policy,
        write=WriteSpec.model_validate(info.identity["write"]),
        passthrough=passthrough_columns(info),
        clip_timeout_s=ExecuteConfig().clip_timeout_s,
    )


def _pass_task(store: Store, info: DatasetInfo) -> PassTask:
    steps = info.identity["steps"]
    inputs = tuple(info.identity["inputs"])
    view = View(store, input_layers(store, inputs))
    rename = {own: new for step in steps for own, new in step.get("rename", {}).items()}
    used = {each.step: each for each in info.weights}
    stages = [(i, _stage(step, used.get(i))) for i, step in enumerate(steps) if "stage" in step]
    program = compile_program(
        info.name,
        stages=[stage for _, stage in stages],
        keep=[text for step in steps for text in step.get("keep", [])],
        inputs=view.columns(),
        input_results={},
        rename=rename,
        hashes=hashes_like(used, stages),
        num_stills=info.identity.get("cached_frames", 0),
        stills_only=info.identity.get("frames_from") == "members_only",
    )
    execute = ExecuteConfig()
    return PassTask(
        name=info.name,
        fingerprint=info.fingerprint,
        program=program,
        inputs=inputs,
        reuse=(),
        unit_clips=info.unit_clips,
        batch_clips=16,
        decoders=num_decoders(execute, program.needs),
        clip_timeout_s=execute.clip_timeout_s,
        batch_timeout_s=execute.batch_timeout_s,
        clip_memory=execute.clip_memory,
    )


def _stage(step: Mapping[str, Any], used: UsedWeights | None) -> Stage:
    """A stage as it ran. `used`: where its weights lie, which no identity has."""
    identity = step["stage"]
    fields = _without_version(identity) if used is None else used.config
    try:
        stage = stage_class(identity["type"]).model_validate({**fields, "on_error": step["on_error"]})
    except ValidationError as exc:
        raise ConfigError(f"stage {identity['type']} no longer takes the fields that it ran with: {exc}") from exc
    if stage.identity != identity:
        raise ConfigError(
            f"stage {identity['type']} has changed since (version {identity['version']}, now {stage.version}): "
            "a retry would mix two kinds of results. Run it as a new pass"
        )
    return stage


def _without_version(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in identity.items() if name != "version"}
