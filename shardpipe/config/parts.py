"""The parts of a config that say how scenes are found, what is emitted, who works and what it costs."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    SerializationInfo,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from shardpipe.config.registry import detector_class, detector_names, stage_class, stage_names
from shardpipe.config.sizes import NumBytes
from shardpipe.core.clip import CLIP_COLUMNS, UNIT_LIST
from shardpipe.core.columns import is_column_name
from shardpipe.core.detector import Detector
from shardpipe.core.errors import ConfigError
from shardpipe.core.scene import EPS_S, ScenePolicy
from shardpipe.core.stage import Stage

EXT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\Z")
STRICT = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


def _type_of(value: object, known: list[str]) -> str:
    """The `type` that a stage's or detector's part of the config names."""
    if not isinstance(value, dict):
        raise ValueError("give a mapping with a type, as in {type: " + known[0] + "}")  # noqa: TRY004  for pydantic
    named = value.get("type")
    if isinstance(named, str):
        return named
    allowed = ", ".join(map(repr, known))
    raise _at_type(f"required; one of {allowed}" if named is None else f"{named!r} is no name; one of {allowed}", named)


def _at_type(message: str, value: object) -> ValidationError:
    error = PydanticCustomError("unknown_type", "{message}", {"message": message})
    return ValidationError.from_exception_data("type", [InitErrorDetails(type=error, loc=("type",), input=value)])


def _stage(value: object) -> Stage:
    if isinstance(value, Stage):
        return value
    name = _type_of(value, stage_names())
    try:
        found = stage_class(name)
    except ConfigError as error:
        raise _at_type(str(error), name) from error
    return found.model_validate(value)


def _detector(value: object) -> Detector:
    if isinstance(value, Detector):
        return value
    name = _type_of(value, detector_names())
    try:
        found = detector_class(name)
    except ConfigError as error:
        raise _at_type(str(error), name) from error
    return found.model_validate(value)


def fault(at: tuple[str | int, ...], value: object, message: str, *, shown: bool = True) -> InitErrorDetails:
    """An error of ours at a place in the config: the value in quotes if it is `shown`, then what is wrong with it."""
    text = f"{value!r} {message}" if shown else message
    return InitErrorDetails(type=PydanticCustomError("config", "{text}", {"text": text}), loc=at, input=value)


AnyStage = Annotated[SerializeAsAny[Stage], PlainValidator(_stage)]
AnyDetector = Annotated[SerializeAsAny[Detector], PlainValidator(_detector)]


class ScenesConfig(BaseModel):
    """`cut.scenes`: a detector and its fields, and beside them what to do with the scenes that it finds."""

    model_config = STRICT

    detector: AnyDetector
    policy: ScenePolicy = Field(default_factory=ScenePolicy)

    @model_validator(mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, dict) or "detector" in value or "policy" in value:
            return value
        policy = {key: item for key, item in value.items() if key in ScenePolicy.model_fields}
        detector = {key: item for key, item in value.items() if key not in policy}
        return {"detector": detector, "policy": policy}

    @model_validator(mode="after")
    def _leaves_scenes(self) -> Self:
        needed_s = self.policy.min_s + 2 * self.policy.trim_s
        longest = self.detector.longest
        if longest is not None and longest[1] < needed_s - EPS_S:
            message = f"is too short, no clip would be left: at least {needed_s:g} (min_s, and trim_s at both ends)"
            raise ValidationError.from_exception_data("scenes", [fault((longest[0],), longest[1], message)])
        return self

    @model_serializer
    def _join(self, info: SerializationInfo) -> dict[str, Any]:
        mode = info.mode
        return {**self.detector.model_dump(mode=mode), **self.policy.model_dump(mode=mode)}


def _caption_files(value: dict[str, str | dict[str, str]]) -> dict[str, str | dict[str, str]]:
    taken = {*CLIP_COLUMNS, *UNIT_LIST}
    columns: list[str] = []
    for ext, wanted in value.items():
        if not EXT.match(ext):
            raise ValueError(f"{ext!r} is no extension: letters, digits, . _ and -, without the dot before it")
        if ext == "json" and isinstance(wanted, str):
            raise ValueError(f"json: say which key is the caption: {{caption: {wanted}}}")
        columns += [wanted] if isinstance(wanted, str) else wanted.values()
    for name in columns:
        if not is_column_name(name) or name.startswith("_"):
            raise ValueError(
                f"{name!r} is no column name: small letters, digits and _, first a letter, and not reserved"
            )
        if name in taken:
            raise ValueError(f"{name!r} is a column that `cut` writes itself: give another name")
        if columns.count(name) > 1:
            raise ValueError(f"{name!r} is named twice: each text goes to a column of its own")
    return value


CaptionFiles = Annotated[dict[str, str | dict[str, str]], AfterValidator(_caption_files)]
"""Extension to the column of the file's text, or to the keys of its JSON and the column of each."""


class EmitConfig(BaseModel):
    """`emit: rows`, `emit: shards`, or a mapping of what the shards hold and how clips are dealt to them."""

    model_config = STRICT

    kind: Literal["rows", "shards"] = Field(default="shards", description="mostly left out: a mapping means shards")
    members: list[str] = Field(
        default=["json", "mp4"],
        min_length=1,
        description="the files of each clip in its shard, by extension; json and mp4 stand first",
    )
    columns: list[str] | None = Field(default=None, description="the sidecar's columns; all data columns if not given")
    shuffle: int | None = Field(default=None, ge=0, description="a seed: deal the clips of a window in a random order")
    bucket: list[str] = Field(default=[], description="columns; a shard holds only clips with equal values in them")
    plan_units: int | None = Field(
        default=None, ge=1, description="plan in windows of so many input units; all at once if not given"
    )
    allow_missing: int = Field(default=0, ge=0, description="plan although so many units have no rows yet")

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: object) -> object:
        if isinstance(value, str):
            return {"kind": value}
        if not isinstance(value, dict | EmitConfig):
            raise ValueError("must be rows, shards, or a mapping of how shards are made")  # noqa: TRY004  for pydantic
        return value

    @model_serializer(mode="wrap")
    def _to_word(self, handler: SerializerFunctionWrapHandler) -> Any:  # noqa: ANN401  a word or a mapping
        return self.kind if self.kind == "rows" else handler(self)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        options = self.model_fields_set - {"kind"}
        if self.kind == "rows" and options:
            raise ValueError(f"{', '.join(sorted(options))}: only for shards; write `emit: rows`, or leave out `kind`")
        for name, values in (("members", self.members), ("columns", self.columns or []), ("bucket", self.bucket)):
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"{name}: {', '.join(twice)} given twice")
        return self


Device = Annotated[str, Field(pattern=r"^(cpu|(cuda|xpu|hpu|npu)(:[0-9]+)?|mps)$")]
"""As torch names them: `cpu`, `cuda:0`."""


def _folder(value: str) -> str:
    if "://" in value:
        raise ValueError("must be a folder of this machine")
    return value


Folder = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(_folder)]
"""A folder on a local disk."""


class ExecuteConfig(BaseModel):
    """`execute`: who works. None of it changes a result, so none of it is part of a fingerprint."""

    model_config = STRICT

    type: Literal["local", "inline"] = Field(
        default="local",
        description="local: spawned processes on this machine; inline: all in the caller's own process, for debugging",
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        description="worker processes; one a device, or one a core, if not given; an engine in process (vllm, transformers) has a GPU to itself",
    )
    decoders: int | None = Field(
        default=None, ge=1, description="decode processes a worker; the worker's share of the cores if not given"
    )
    devices: list[Device] | None = Field(
        default=None,
        min_length=1,
        description="torch devices of the passes with models, one a worker: [cuda:0, cuda:1]; null: all GPUs, else the CPU",
    )
    tries: int = Field(default=3, ge=1, description="how often a unit is tried before it is committed with its errors")
    clip_timeout_s: float = Field(default=120.0, gt=0, description="a decode that takes longer costs its clip")
    batch_timeout_s: float = Field(
        default=600.0, gt=0, description="a stage that takes longer for a batch costs its clips"
    )
    clip_memory: NumBytes = Field(
        default=4 * 2**30, description="a decode process that needs more bytes costs its clip"
    )
    scratch: Folder | None = Field(
        default=None,
        description="the folder where shards and remote videos lie while they are worked on; `.tmp` of a local root, else a folder of yours below the system's temporary one, if not given",
    )
    scratch_bytes: NumBytes | None = Field(
        default=None,
        description="so much of it all workers of this machine may take at once: who needs more waits until others are done; no limit if not given",
    )
    cache: Folder | None = Field(
        default=None,
        description="the folder for `cache_bytes`; `sources` in `SHARDPIPE_CACHE`, else in ~/.cache/shardpipe, if not given",
    )
    cache_bytes: NumBytes | None = Field(
        default=None,
        description="keep whole copies of remote sources on this machine, so many bytes of those used last; none are kept if not given",
    )


class Prices(BaseModel):
    """`prices`: what your provider takes, in any one currency; `plan` and the funnel then print costs."""

    model_config = STRICT

    currency: str = Field(default="USD", description="a name, for the tables")
    cpu_hour: float = Field(default=0.0, ge=0, description="one core for an hour")
    gpu_hour: float = Field(default=0.0, ge=0, description="one GPU for an hour")
    requests_1000: float = Field(default=0.0, ge=0, description="1,000 requests to the object store")
    gb_moved: float = Field(default=0.0, ge=0, description="10**9 bytes read or written")
