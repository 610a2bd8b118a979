"""What a config asks for, checked against what is in the root, before anything runs: one task a pass.

Columns, rules, fingerprints and layers of all passes follow from the config and from `clips`, so every mistake in them
is found here. `dataset.json` is created if absent, then read back: what was read counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shardpipe.config.models import CLIPS, Config, CutConfig, PassConfig
from shardpipe.core.clip import CLIP_COLUMNS
from shardpipe.core.columns import ColumnType
from shardpipe.core.errors import ConfigError, IncompleteError
from shardpipe.core.fingerprint import difference, fingerprint
from shardpipe.core.stills import ASKED, TIMES_S, num_stills
from shardpipe.core.weights import Weights
from shardpipe.engine.cutting.scenesettings import scenes_identity
from shardpipe.engine.emission.emitplan import check_emit
from shardpipe.engine.known import Known
from shardpipe.engine.passes.passidentity import pass_identity
from shardpipe.engine.passes.passweights import find_weights, used_weights
from shardpipe.engine.passes.program import Program, compile_program
from shardpipe.engine.sources.captionfiles import caption_columns
from shardpipe.engine.sources.sources import Listing, list_sources
from shardpipe.engine.tasks import CutTask, PassTask
from shardpipe.engine.versions import library_versions
from shardpipe.storage.dataset import FORMAT, Dataset, DatasetInfo
from shardpipe.storage.store import Store


@dataclass(frozen=True)
class Shape:
    """What a pass hands to the next one, known without running it: its view's columns, results, members and layers.

    results: column to the id of the result that it holds. members: name to extension. layers: names of the Datasets
    that are folded, that with the media first.
    """

    info: DatasetInfo
    columns: Mapping[str, ColumnType]
    results: Mapping[str, str]
    members: Mapping[str, str]
    layers: tuple[str, ...]


@dataclass(frozen=True)
class PreparedPass:
    """A pass ready to run."""

    config: PassConfig
    shape: Shape
    program: Program


@dataclass(frozen=True)
class Prepared:
    """A config ready to run. `listing` is what the sources gave, None where `clips` has its unit list already."""

    cut: CutConfig | None
    clips: Shape
    listing: Listing | None
    passes: tuple[PreparedPass, ...]


def prepare(
    store: Store, config: Config, *, only: str | None = None, adding: bool = False, known: Known | None = None
) -> Prepared:
    """Check everything and create nothing; raises ConfigError.

    only: the pass that alone is to run; others whose weights are not here are left out then. adding: new sources are
    about to be appended, so that no pass is complete.
    """
    clips, listing = _clips_shape(store, config.cut)
    known = known or Known(store)
    hashes = find_weights(known, config, only=only, adding=adding)
    shapes = {CLIPS: clips}
    passes = []
    for each in config.passes:
        if each.name not in hashes:
            continue
        shape, program = _pass_shape(known, each, [shapes[name] for name in each.inputs], hashes[each.name])
        shapes[each.name] = shape
        passes.append(PreparedPass(each, shape, program))
    return Prepared(config.cut, clips, listing, tuple(passes))


def ensure_dataset(store: Store, info: DatasetInfo) -> DatasetInfo:
    """Create `dataset.json` if it is absent; what is there counts. Raises ConfigError if it is of another configuration."""
    data = store.create(f"{info.name}/dataset.json", info.to_bytes())
    found = DatasetInfo.from_bytes(data, f"{store.url}/{info.name}/dataset.json")
    _check_same(store, found, info)
    return found


def _clips_shape(store: Store, cut: CutConfig | None) -> tuple[Shape, Listing | None]:
    found = _existing(store, CLIPS)
    if cut is None:
        if found is None:
            raise ConfigError(f"cut: left out, but {store.url}/{CLIPS} has no Dataset: give `cut`, or another `root`")
        return _shape_of_clips(found), None
    has_units = bool(store.list(f"{CLIPS}/sources"))
    listing = None if has_units else list_sources(cut.source_list, root=store.url, texts=cut.captions)
    own = dict((listing or Listing([], {})).columns)
    own |= caption_columns(cut.captions, own, "a table of cut.sources")
    passthrough = passthrough_columns(found) if found is not None and has_units else own
    identity = {
        "format": FORMAT,
        "sources": list(cut.source_list),
        "scenes": scenes_identity(cut.scenes.detector, cut.scenes.policy),
        "write": cut.write.model_dump(mode="json"),
        **({"captions": cut.captions} if cut.captions else {}),
    }
    columns = {**CLIP_COLUMNS, **passthrough}
    info = DatasetInfo(
        name=CLIPS,
        kind="cut",
        emit="rows",
        fingerprint=fingerprint(identity),
        identity=identity,
        layers=["."],
        columns={name: str(kind) for name, kind in columns.items()},
        versions=library_versions(),
    )
    if found is not None:
        _check_same(store, found, info)
        info = found
    return _shape_of_clips(info), listing


def _shape_of_clips(info: DatasetInfo) -> Shape:
    results = dict.fromkeys(info.columns, f"{info.name}:{info.fingerprint}")
    return Shape(info, info.typed_columns, results, {}, (info.name,))


def passthrough_columns(info: DatasetInfo) -> dict[str, ColumnType]:
    """The sources' own columns, out of those of `clips`."""
    return {name: kind for name, kind in info.typed_columns.items() if name not in CLIP_COLUMNS}


def _pass_shape(
    known: Known, config: PassConfig, inputs: Sequence[Shape], hashes: Mapping[Weights, str]
) -> tuple[Shape, Program]:
    store, merged = known.store, _merge(config, inputs)
    program = compile_program(
        config.name,
        stages=config.stages,
        keep=config.keep,
        inputs=merged.columns,
        input_results=merged.results,
        rename=config.rename,
        hashes=hashes,
        num_stills=_num_stills(config, merged),
        stills_only=config.frames_from == "members_only",
        input_ids=[each.info.fingerprint for each in inputs],
    )
    _check_members(config, merged, program)
    identity = {
        "format": FORMAT,
        **pass_identity(program, inputs={each.info.name: each.info.fingerprint for each in inputs}),
    }
    shards = config.emit.kind == "shards"
    info = DatasetInfo(
        name=config.name,
        kind="pass",
        emit=config.emit.kind,
        fingerprint=fingerprint(identity),
        identity=identity,
        layers=[*(f"../{name}" for name in merged.layers), "."],
        columns={name: str(kind) for name, kind in program.columns.items()},
        members=program.members,
        unit_clips=config.unit_clips,
        weights=used_weights(program),
        versions=library_versions(),
    )
    found = _existing(store, config.name)
    if found is not None:
        _check_same(store, found, info)
        info = found
    _check_reuse(store, config)
    columns = {**merged.columns, **program.columns}
    members = {**merged.members, **program.members}
    layers = (config.name,) if shards else (*merged.layers, config.name)
    own = {name: program.results[name] for name in program.columns}
    results = {**merged.results, **own}
    if shards:
        members = check_emit(known, config, columns, members)
    return Shape(info, columns, results, members, layers), program


def _merge(config: PassConfig, inputs: Sequence[Shape]) -> Shape:
    """Several inputs as one; they must share their base, and no column may come from two of their layers."""
    first = inputs[0]
    columns, results, members = dict(first.columns), dict(first.results), dict(first.members)
    layers = dict.fromkeys(first.layers)
    for other in inputs[1:]:
        if other.layers[0] != first.layers[0]:
            raise ConfigError(
                f"passes.{config.name}.from: {first.info.name} and {other.info.name} have different media "
                f"({first.layers[0]} and {other.layers[0]}): layers can be folded over one base only"
            )
        for name, kind in other.columns.items():
            if name in columns and results[name] != other.results[name]:
                raise ConfigError(
                    f"passes.{config.name}.from: column {name!r} is written by {first.info.name} and by "
                    f"{other.info.name}: give it another name there with `rename:`"
                )
            columns[name], results[name] = kind, other.results[name]
        members |= other.members
        layers |= dict.fromkeys(other.layers)
    return Shape(first.info, columns, results, members, tuple(layers))


def _num_stills(config: PassConfig, merged: Shape) -> int:
    """The cached frames that the stages of a pass may take: those of its input, unless it is told to decode."""
    there = config.frames_from != "media" and TIMES_S in merged.columns and ASKED in merged.columns
    return num_stills(merged.members.values()) if there else 0


def _check_members(config: PassConfig, merged: Shape, program: Program) -> None:
    if twice := sorted(set(program.members.values()) & set(merged.members.values())):
        raise ConfigError(
            f"passes.{config.name} writes members .{', .'.join(twice)}, which the clips of its input have already: "
            "take an input without them"
        )


def _check_reuse(store: Store, config: PassConfig) -> None:
    for i, name in enumerate(config.reuse):
        if name == config.name or _existing(store, name) is None:
            raise ConfigError(
                f"passes.{config.name}.reuse.{i}: {name!r} is no finished or unfinished Dataset of {store.url}"
            )


def _existing(store: Store, name: str) -> DatasetInfo | None:
    try:
        return Dataset.open(store, name).info
    except IncompleteError:
        return None


def _check_same(store: Store, found: DatasetInfo, wanted: DatasetInfo) -> None:
    if found.fingerprint == wanted.fingerprint and found.emit == wanted.emit:
        return
    old = {**found.identity, "emit": found.emit}
    new = {**wanted.identity, "emit": wanted.emit}
    lines = "\n  ".join(difference(_readable(old), _readable(new)))
    way_out = "Give the pass another name (finished columns can be taken over with `reuse:`), use another root, or remove that folder"
    if wanted.name == CLIPS:
        way_out = "Use another root, or remove that folder"
        if old.get("sources") != new.get("sources"):
            way_out = f"Keep `cut.sources` as it was, and add new videos with `run --add-sources`. {way_out}"
    raise ConfigError(f"{store.url}/{wanted.name} was made by another configuration:\n  {lines}\n{way_out}")


def _readable(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity without result ids, which only repeat what the steps say."""
    return {name: value for name, value in identity.items() if name != "results"}


def cut_task(prepared: Prepared, config: Config) -> CutTask:
    """The task of `cut`."""
    cut = prepared.cut
    assert cut is not None
    return CutTask(
        name=CLIPS,
        fingerprint=prepared.clips.info.fingerprint,
        detector=cut.scenes.detector,
        policy=cut.scenes.policy,
        write=cut.write,
        passthrough=passthrough_columns(prepared.clips.info),
        clip_timeout_s=config.execute.clip_timeout_s,
    )


def pass_task(prepared: PreparedPass, info: DatasetInfo, config: Config, *, decoders: int) -> PassTask:
    """The task of a pass's rows; `info` as read back from the root."""
    execute, own = config.execute, prepared.config
    return PassTask(
        name=own.name,
        fingerprint=info.fingerprint,
        program=prepared.program,
        inputs=own.inputs,
        reuse=tuple(own.reuse),
        unit_clips=info.unit_clips,
        batch_clips=own.batch_clips,
        decoders=decoders,
        clip_timeout_s=execute.clip_timeout_s,
        batch_timeout_s=execute.batch_timeout_s,
        clip_memory=execute.clip_memory,
    )
