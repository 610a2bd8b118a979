"""A pass as steps: its stages in their order, each rule as soon as the columns that it names are there. All pure.

input's rows ─▶ rules that bind on them ─▶ stage ─▶ rules that bind now ─▶ stage ─▶ ...
                (dropped: media never read)        └─ from the first stage that sees frames on: once decoded, by batch
"""

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from shardpipe.core.asyncstage import AsyncStage
from shardpipe.core.columns import Columns, ColumnType, Member, is_column_name
from shardpipe.core.datasetstage import DatasetStage
from shardpipe.core.errors import ConfigError
from shardpipe.core.fingerprint import fingerprint
from shardpipe.core.frames import FrameRequest
from shardpipe.core.shared import SharedStage, named_loads
from shardpipe.core.stage import Stage
from shardpipe.core.stills import TIMES_S
from shardpipe.core.weights import Weights
from shardpipe.core.work import WorkerNeeds
from shardpipe.engine.passes.cachedframes import check_never_decodes, must_decode, takes_stills
from shardpipe.engine.passes.rules import Rule, RuleSet
from shardpipe.storage.dataset import MADE
from shardpipe.storage.tar import EXT


@dataclass(frozen=True)
class StageStep:
    """One stage of a pass.

    columns: what it writes, by the name that its row has (after `rename`), to the stage's own name and the type.
    members: the same of the members that it writes: name to (own name, extension).
    shared: the pass-local columns of the shared steps before it that it reads.
    weights: the sha256 of each file that its results depend on, as `named_loads` names them.
    result_id: identifies its results: its type, version, fields and weights, the results that it reads, the cached frames that it
    may see in place of decoded ones, and what says which clips it looks through.
    """

    stage: Stage
    columns: Mapping[str, tuple[str, ColumnType]]
    members: Mapping[str, tuple[str, str]]
    reads: tuple[str, ...]
    shared: tuple[str, ...]
    weights: Mapping[str, str]
    result_id: str

    @property
    def is_shared(self) -> bool:
        """Whether it works for other stages of the pass alone."""
        return isinstance(self.stage, SharedStage)

    @property
    def requests(self) -> tuple[FrameRequest, ...]:
        """The frames that it wants."""
        return self.stage.frame_requests

    @property
    def stored(self) -> dict[str, ColumnType]:
        """The columns that go into rows: pass-local ones (`_name`) do not."""
        return {name: kind for name, (_, kind) in self.columns.items() if not name.startswith("_")}


Step = StageStep | RuleSet


@dataclass(frozen=True)
class Program:
    """What a pass does with each clip. `results`: stored column to the id of the result that it holds.

    num_stills: how many cached frames of each clip its stages may take in place of decoding; 0: none. stills_only: they take
    nothing else. decoding: the stages that decode although its input has cached frames.
    """

    steps: tuple[Step, ...]
    schema: dict[str, ColumnType]
    columns: dict[str, ColumnType]
    members: dict[str, str]
    results: dict[str, str]
    num_stills: int = 0
    stills_only: bool = False
    decoding: tuple[str, ...] = ()

    @property
    def stages(self) -> list[StageStep]:
        """Its stages."""
        return [step for step in self.steps if isinstance(step, StageStep)]

    @property
    def looking_back(self) -> list[StageStep]:
        """Its DatasetStages; rows of a unit depend on the units before it where there are any."""
        return [step for step in self.stages if isinstance(step.stage, DatasetStage)]

    @property
    def first_rules(self) -> RuleSet:
        """The rules that bind on the input's columns."""
        first = self.steps[0] if self.steps else None
        return first if isinstance(first, RuleSet) else RuleSet(())

    @property
    def needs(self) -> WorkerNeeds:
        """What a worker of it needs."""
        stages = [step.stage for step in self.stages]
        engines = [stage.opens.num_devices for stage in stages if isinstance(stage, AsyncStage)]
        return WorkerNeeds(any(stage.uses_device for stage in stages), max([1, *engines]), serves_all=bool(engines))

    @property
    def for_others(self) -> dict[str, list[StageStep]]:
        """The stages that read the result of each shared step, by its column."""
        return {
            step.stage.column: [other for other in self.stages if step.stage.column in other.shared]
            for step in self.stages
            if isinstance(step.stage, SharedStage)
        }

    @property
    def num_before_frames(self) -> int:
        """How many steps run before the first stage that sees frames, or answers later: on whole units, before anything is
        decoded.
        """
        for i, step in enumerate(self.steps):
            if isinstance(step, StageStep) and (step.requests or isinstance(step.stage, AsyncStage)):
                return i
        return len(self.steps)


def compile_program(
    name: str,
    *,
    stages: Sequence[Stage],
    keep: Sequence[str],
    inputs: Columns,
    input_results: Mapping[str, str],
    rename: Mapping[str, str],
    hashes: Mapping[Weights, str] = MappingProxyType({}),
    num_stills: int = 0,
    stills_only: bool = False,
    input_ids: Sequence[str] = (),
) -> Program:
    """The steps of pass `name` over an input with columns `inputs`; raises ConfigError for what cannot run.

    hashes: the sha256 of all weights that the stages load. num_stills: how many cached frames of the input may be taken.
    stills_only: whether nothing else may be. input_ids: the fingerprints of its inputs, which say what clips they keep.
    """
    places = {text: f"passes.{name}.keep.{i}" for i, text in enumerate(keep)}
    schema, results = dict(inputs), dict(input_results)
    columns: dict[str, ColumnType] = {}
    members: dict[str, str] = {}
    steps: list[Step] = []
    waiting = RuleSet(tuple(_rule(place, text) for text, place in places.items()))

    def bind() -> None:
        nonlocal waiting
        ready = waiting.binding(schema)
        if ready.rules:
            _check(ready, schema, places)
            steps.append(ready)
            waiting = waiting.without(ready)

    on_inputs = waiting.binding(schema)
    bind()
    used_renames: set[str] = set()
    shared = _joined(stages)
    for i, stage in enumerate(stages):
        where = f"passes.{name}.stages.{i} ({stage.type})"
        first = [shared.pop(each.column) for each in stage.shares if each.column in shared]  # nobody before reads them
        if stills_only:
            check_never_decodes(where, stage, num_stills)
        more: dict[str, Any] = {}
        if takes_stills(stage, num_stills):  # where `members` decodes, `members_only` has errors: two kinds of results
            more = {"stills": input_results.get(TIMES_S, TIMES_S), **({"stills_only": True} if stills_only else {})}
        if isinstance(stage, DatasetStage):
            _check_first(where, stage, stages[:i], made={*schema} - {*inputs})
            more["clips"] = {"inputs": list(input_ids), "keep": [rule.text for rule in on_inputs.rules]}
        steps.extend(_stage_step(each, where, schema, results, rename={}, hashes=hashes) for each in first)
        step = _stage_step(stage, where, schema, results, rename=rename, hashes=hashes, more=more)
        used_renames |= {own for _, (own, _) in [*step.columns.items(), *step.members.items()]}
        _check_new(where, step, schema, members, own={*schema, *members} - {*inputs})
        schema |= {column: kind for column, (_, kind) in step.columns.items()}
        columns |= step.stored
        results |= dict.fromkeys(step.columns, step.result_id)
        members |= {member: ext for member, (_, ext) in step.members.items()}
        steps.append(step)
        if not any(isinstance(each, DatasetStage) for each in stages[i + 1 :]):  # those of a pass see the same clips
            bind()
    _check(waiting, schema, places)
    if unused := sorted(set(rename) - used_renames):
        raise ConfigError(f"passes.{name}.rename: no stage of this pass writes {', '.join(unused)}")
    taken = num_stills if any(takes_stills(stage, num_stills) for stage in stages) else 0
    decoding = tuple(each.type for each in stages if num_stills and must_decode(each, num_stills))
    return Program(tuple(steps), schema, columns, members, results, taken, stills_only and taken > 0, decoding)


def _check_first(where: str, stage: Stage, before: Sequence[Stage], *, made: Collection[str]) -> None:
    """Raise ConfigError where a DatasetStage reads what the pass itself made, or stands after other stages."""
    if own := [column for column in stage.reads if column in made]:
        raise ConfigError(
            f"{where} reads column {own[0]!r} of all clips before the first one is done, and a stage of the same pass writes it: "
            "put this stage into a pass after this one"
        )
    if others := [each.type for each in before if not isinstance(each, DatasetStage)]:
        raise ConfigError(
            f"{where} looks through the whole Dataset first, when nobody knows which clips {', '.join(others)} will drop: "
            "put it before them, or into a pass after this one"
        )


def _joined(stages: Sequence[Stage]) -> dict[str, SharedStage]:
    """The shared steps of `stages` by column, those that compute the same joined."""
    found: dict[str, SharedStage] = {}
    for each in (shared for stage in stages for shared in stage.shares):
        found[each.column] = found[each.column].joined(each) if each.column in found else each
    return found


def _rule(place: str, text: str) -> Rule:
    try:
        return Rule(text)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from None


def _check(rules: RuleSet, schema: Columns, places: Mapping[str, str]) -> None:
    """Raise ConfigError, with its place in the config, for a rule that is no boolean expression over `schema`."""
    for rule in rules.rules:
        try:
            rule.check(schema)
        except ConfigError as error:
            raise ConfigError(f"{places[rule.text]}: {error}") from None


def _stage_step(
    stage: Stage,
    where: str,
    schema: Columns,
    results: Mapping[str, str],
    *,
    rename: Mapping[str, str],
    hashes: Mapping[Weights, str],
    more: Mapping[str, Any] = MappingProxyType({}),
) -> StageStep:
    for column in stage.reads:
        if column not in schema:
            near = difflib.get_close_matches(column, schema, n=1)
            hint = f": did you mean {near[0]}?" if near else f". There are: {', '.join(schema)}"
            raise ConfigError(f"{where} reads column {column!r}, which nothing before it writes{hint}")
    columns = {rename.get(own, own): (own, kind) for own, kind in stage.writes.items() if isinstance(kind, ColumnType)}
    members = {rename.get(own, own): (own, kind.ext) for own, kind in stage.writes.items() if isinstance(kind, Member)}
    reads = tuple(stage.reads)
    shared = [each.identity for each in stage.shares]
    weights = {name: hashes[each] for name, each in named_loads(stage).items()}
    result_id = fingerprint(
        {
            "stage": stage.identity,
            "reads": {column: results.get(column, column) for column in reads},
            **({"shares": shared} if shared else {}),
            **({"weights": weights} if weights else {}),
            **more,
        }
    )
    columns_shared = tuple(each.column for each in stage.shares)
    return StageStep(stage, columns, members, reads, columns_shared, weights, result_id)


def _check_new(
    where: str, step: StageStep, schema: Columns, members: Mapping[str, str], *, own: Collection[str]
) -> None:
    """Raise ConfigError where a step writes what is there already; `own` is what the pass itself has written so far."""
    if len(step.columns) + len(step.members) < len(step.stage.writes):
        raise ConfigError(
            f"{where} writes two columns of one name: its `rename` gives it to both, or one has it already"
        )
    for column in [*step.columns, *step.members]:
        if not is_column_name(column):
            raise ConfigError(f"{where} writes {column!r}, which is no name for a column (or is taken by shardpipe)")
        if column in own:
            raise ConfigError(
                f"{where} writes column {column!r}, as a stage before it does: put one of them into a pass of its own, "
                "with another name for it there (`rename`)"
            )
        if column in schema or column in members:
            raise ConfigError(
                f"{where} writes column {column!r}, which is there already: give it another name with "
                f"`rename: {{{column}: {column}_2}}`"
            )
    taken = set(members.values())
    for ext in (ext for _, ext in step.members.values()):
        if ext in taken or ext in MADE:
            raise ConfigError(f"{where} writes a member .{ext}, which each clip has already")
        if not EXT.match(ext):
            raise ConfigError(f"{where} writes a member .{ext}, which is no extension: a-z, 0-9 and _, parts by dots")
