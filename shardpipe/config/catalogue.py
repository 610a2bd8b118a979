"""Stages, detectors and config parts as documentation: what `shardpipe stages` and the generated pages show."""

import inspect
import re
import types
import typing
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from shardpipe.config.registry import detector_class, detector_names, stage_class, stage_names
from shardpipe.core.columns import Member
from shardpipe.core.detector import Detector
from shardpipe.core.shared import named_loads
from shardpipe.core.stage import Stage
from shardpipe.core.weights import Weights, is_weights_url

SIZES = ("_bytes", "_memory")
MIB = 2**20


@dataclass(frozen=True)
class Field:
    """One field of a config part, each part as text."""

    name: str
    kind: str
    default: str
    what: str


@dataclass(frozen=True)
class Entry:
    """One stage or detector: its docstring, its fields, and what it writes, reads and loads with default fields."""

    type: str
    kind: Literal["stage", "detector"]
    doc: str
    fields: tuple[Field, ...]
    columns: dict[str, str]
    reads: tuple[str, ...] = ()
    loads: tuple[Weights, ...] = ()

    @property
    def summary(self) -> str:
        """The docstring's first sentence."""
        return re.split(r"(?<=[.:])\s", self.doc.replace("\n", " "), maxsplit=1)[0]

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)


def catalogue(only: str | None = None) -> list[Entry]:
    """Every installed stage, then every detector, by `type`; or `only` those of one type, without importing the others."""
    stages = [name for name in stage_names() if only in (None, name)]
    detectors = [name for name in detector_names() if only in (None, name)]
    entries = [_stage_entry(name, stage_class(name)) for name in stages]
    return entries + [_detector_entry(name, detector_class(name)) for name in detectors]


def fields_of(model: type[BaseModel]) -> tuple[Field, ...]:
    """The fields of a config part; of a stage or detector less `type`, which names it."""
    named = issubclass(model, Stage | Detector)
    return tuple(
        _field(field.alias or name, field)
        for name, field in model.model_fields.items()
        if not (named and name == "type")
    )


def _field(name: str, field: FieldInfo) -> Field:
    what = field.description or ""
    if name.endswith(SIZES):
        given = field.default is not None
        return Field(name, "size" if given else "size or null", f"{field.default // MIB}MiB" if given else "null", what)
    kind = "url of weights" if is_weights_url(field.annotation, field.metadata) else type_text(field.annotation)
    return Field(name, kind, _default(field), what)


def type_text(annotation: Any) -> str:  # noqa: ANN401, PLR0911  a type expression, a kind a line
    """A type as a config's author reads it: `number`, `dis or raft`, `list of text`."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_text(inner[0])
    if origin is Literal:
        return " or ".join(str(value) for value in inner)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(type_text(each) for each in inner)
    if origin in (list, tuple, set, frozenset):
        return f"list of {type_text(inner[0])}"
    if origin is dict:
        return f"mapping of {type_text(inner[0])} to {type_text(inner[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "stage" if annotation is Stage else "mapping"
    names = {
        Any: "anything",
        bool: "true or false",
        int: "whole number",
        float: "number",
        str: "text",
        types.NoneType: "null",
    }
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _stage_entry(name: str, kind: type[Stage]) -> Entry:
    required = [field for field, info in kind.model_fields.items() if info.is_required()]
    if required:  # what it writes may depend on its fields
        return Entry(name, "stage", _doc(kind), fields_of(kind), {})
    stage = kind.model_validate({})
    columns = {
        column: f"member .{written.ext}" if isinstance(written, Member) else str(written)
        for column, written in stage.writes.items()
    }
    loads = tuple(named_loads(stage).values())
    return Entry(name, "stage", _doc(kind), fields_of(kind), columns, tuple(stage.reads), loads)


def _detector_entry(name: str, kind: type[Detector]) -> Entry:
    return Entry(name, "detector", _doc(kind), fields_of(kind), {})


def _doc(kind: type) -> str:
    return inspect.getdoc(kind) or ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return ""
    if isinstance(value, BaseModel):
        return "{}"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)
