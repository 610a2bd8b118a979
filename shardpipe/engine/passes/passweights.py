"""The weights that passes load: found before anything runs, named by hash in fingerprints, checked by each worker.

    plan, run     state of each file (no network) ─▶ sha256 ─▶ identity of its stage     missing ones: one ConfigError
    dataset.json  what was used: url, sha256, licence
    worker        sha256 of what it is about to load == that of the identity, or it ends

Where a file cannot be had any more, the sha256 that `dataset.json` has of the same url serves, as long as the pass has
nothing left to run: its rows, and all that follows from them, need no model.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from shardpipe.config.models import CLIPS, Config
from shardpipe.core.asyncstage import AsyncStage
from shardpipe.core.errors import ConfigError, IncompleteError, UnitError
from shardpipe.core.shared import named_loads
from shardpipe.core.stage import Stage
from shardpipe.core.weights import Weights, is_weights_url
from shardpipe.engine.known import Known
from shardpipe.engine.passes.program import Program, StageStep
from shardpipe.engine.units import cut_todo, input_layers, pass_todo
from shardpipe.models.weights import State, resolve, sha256_of, state
from shardpipe.storage.dataset import Dataset, UsedFile, UsedWeights
from shardpipe.storage.store import Store


@dataclass(frozen=True)
class Need:
    """One file of weights that a stage of a config loads, itself or in a step that it shares; `name` as in `named_loads`."""

    pass_name: str
    number: int
    stage: Stage
    name: str
    weights: Weights

    @property
    def place(self) -> str:
        """Where the stage stands in the config."""
        return f"passes.{self.pass_name}.stages.{self.number}"

    @property
    def fields(self) -> list[str]:
        """The stage's own fields that name this file."""
        fields = type(self.stage).model_fields
        named = [name for name, field in fields.items() if is_weights_url(field.annotation, field.metadata)]
        return [name for name in named if getattr(self.stage, name) == self.weights.url]


def needs_of(config: Config) -> list[Need]:
    """All weights of a config, in the order of its stages."""
    return [
        Need(each.name, i, stage, name, weights)
        for each in config.passes
        for i, stage in enumerate(each.stages)
        for name, weights in named_loads(stage).items()
    ]


def find_weights(
    known: Known, config: Config, *, only: str | None = None, adding: bool = False
) -> dict[str, dict[Weights, str]]:
    """The sha256 of all weights of each pass. Asks no network.

    Raises one ConfigError for all that is not here, and how to have it. With `only`, a pass that neither is that one nor
    comes before it may lack its weights: it is left out then, and so is what reads it. adding: see `prepare`.
    """
    look = cache(state)
    work = _Work(known, config, only, adding)
    found: dict[str, dict[Weights, str]] = {}
    missing: list[tuple[Need, State]] = []
    needs = needs_of(config)
    for each in config.passes:
        recorded = _recorded(known.store, each.name)
        hashes: dict[Weights, str] = {}
        absent, gone = [], []  # gone: only its hash is known still
        for need in (need for need in needs if need.pass_name == each.name):
            there, before = look(need.weights), recorded.get((need.name, need.weights.url))
            if there.is_here and there.sha256 is not None:
                hashes[need.weights] = there.sha256
            elif before is not None and need.weights.sha256 in (None, before):
                hashes[need.weights] = before
                gone.append((need, there))
            else:
                absent.append((need, there))
        if not work.needs(each.name):
            if not absent and all(name in found or name == CLIPS for name in each.inputs):
                found[each.name] = hashes
            continue
        found[each.name] = hashes
        missing += absent + (gone if gone and work.left(each.name) else [])
    if missing:
        raise ConfigError(_message(missing))
    return found


def used_weights(program: Program) -> list[UsedWeights]:
    """What `dataset.json` says of the weights of a pass, and of the config of stages that ask an engine: their identity does not
    say how, and a retry must know.
    """
    used = []
    steps = [step for step in program.steps if not (isinstance(step, StageStep) and step.is_shared)]
    for i, step in enumerate(steps):
        if isinstance(step, StageStep) and (step.weights or isinstance(step.stage, AsyncStage)):
            files = [
                UsedFile(name=name, url=each.url, sha256=step.weights[name], licence=each.licence, source=each.source)
                for name, each in named_loads(step.stage).items()
            ]
            used.append(UsedWeights(step=i, config=step.stage.model_dump(mode="json"), files=files))
    return used


def check_loads(where: str, step: StageStep) -> None:
    """Raise UnitError where a file that a stage is about to load is another than the fingerprint names; pull what is not here."""
    for weights in step.stage.loads:
        path = resolve(weights)
        found, named = sha256_of(weights), step.weights[weights.role]
        if found != named:
            raise UnitError(
                f"{where}: stage {step.stage.type} would load other weights than the run was planned with: its "
                f"{weights.role}, {path}, has sha256 {found}, and {named} is in the fingerprint. Put the file back, or "
                "run again with the new one under another pass name"
            )


@dataclass(frozen=True)
class _Work:
    """Whether a pass is to run, and has anything left to do."""

    known: Known
    config: Config
    only: str | None
    adding: bool

    def needs(self, name: str) -> bool:
        """Whether what the pass is must be known: it is to run, or `only` follows from it."""
        return self.only is None or name in self._with_inputs(self.only)

    def left(self, name: str) -> bool:
        """Whether a unit of it, or of what it reads, is to do in this run."""
        if self.only not in (None, name):
            return False
        if name == CLIPS:
            return self.config.cut is not None and (self.adding or self._cut_left())
        return any(self.left(each) for each in self._inputs(name)) or self._pass_left(name)

    def _cut_left(self) -> bool:
        todo = cut_todo(self.known)
        return not todo.names or bool(todo.jobs)

    def _pass_left(self, name: str) -> bool:
        try:
            inputs = input_layers(self.known.store, self._inputs(name))
            todo = pass_todo(self.known, Dataset.open(self.known.store, name), inputs)
        except IncompleteError:
            return True
        return bool(todo.jobs or todo.num_waiting)

    def _inputs(self, name: str) -> Sequence[str]:
        named = self.config.pass_named(name)
        return () if named is None else named.inputs

    def _with_inputs(self, name: str) -> set[str]:
        return {name}.union(*(self._with_inputs(each) for each in self._inputs(name)))


def _recorded(store: Store, name: str) -> dict[tuple[str, str], str]:
    """(name, url) to the sha256 that the `dataset.json` of a pass has of it; nothing where there is none."""
    try:
        used = Dataset.open(store, name).info.weights
    except IncompleteError:
        return {}
    return {(file.name, file.url): file.sha256 for each in used for file in each.files}


def _message(missing: Sequence[tuple[Need, State]]) -> str:
    count = "1 file of weights is" if len(missing) == 1 else f"{len(missing)} files of weights are"
    return "\n".join([f"{count} not here, and nothing was run:", *(line for each in missing for line in _lines(*each))])


def _lines(need: Need, there: State) -> Iterator[str]:
    weights = need.weights
    size = "" if weights.num_bytes is None else f", {weights.num_bytes:,} bytes"
    why = there.reason or "not pulled yet"
    yield f"  {need.place} ({need.stage.type}): {need.name}: {weights.url} (licence: {weights.licence}{size}): {why}"
    if there.where == "to pull":
        yield "      to have it: shardpipe models CONFIG --pull"
    elif there.can_be_pulled:
        yield "      to have it: shardpipe models CONFIG --pull where there is a network, with the same cache folder"
    setting = f"{need.fields[0]}=PATH" if need.fields else weights.setting
    path = "its path in the stage's fields" if setting is None else f"--set {shlex.quote(f'{need.place}.{setting}')}"
    yield f"      or: {'' if weights.source is None else f'get it at {weights.source}, and '}give {path}"
    yield f"      to run without it: leave {need.place} ({need.stage.type}) out"


def hashes_like(used: Mapping[int, UsedWeights], steps: Sequence[tuple[int, Stage]]) -> dict[Weights, str]:
    """For a retry: the sha256 of the weights of these stages (by their place in `steps`), which must be those recorded."""
    found: dict[Weights, str] = {}
    for i, stage in steps:
        recorded = {file.name: file.sha256 for file in used[i].files} if i in used else {}
        for name, weights in named_loads(stage).items():
            found[weights] = sha256_of(weights)
            if found[weights] != recorded.get(name):
                raise ConfigError(
                    f"stage {stage.type}: its {name}, {weights.url}, has changed since (sha256 {found[weights]}, it ran "
                    f"with {recorded.get(name)}): a retry would mix two kinds of results. Put the file back"
                )
    return found
