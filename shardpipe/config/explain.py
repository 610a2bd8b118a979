"""Config errors in words: file and line, the path inside the config, the bad value and what is allowed."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from shardpipe.config.document import Document, Path, dotted
from shardpipe.config.models import Config, CutConfig, PassConfig
from shardpipe.config.parts import EmitConfig, ExecuteConfig, Prices
from shardpipe.config.registry import detector_class, nearest, stage_class
from shardpipe.core.cutting import WriteSpec
from shardpipe.core.errors import ConfigError
from shardpipe.core.scene import ScenePolicy

JOINED = {("cut", "scenes", "detector"), ("cut", "scenes", "policy")}  # their keys stand side by side in a config
REQUIRED = {"emit": "required, there is no default: rows or shards", "type": "required"}

MODELS: Mapping[Path, type[BaseModel]] = {
    (): Config,
    ("cut",): CutConfig,
    ("cut", "write"): WriteSpec,
    ("passes", "*"): PassConfig,
    ("passes", "*", "emit"): EmitConfig,
    ("execute",): ExecuteConfig,
    ("prices",): Prices,
}


def explain(document: Document, errors: Iterable[Mapping[str, Any]]) -> ConfigError:
    """All of pydantic's `errors` on `document` as one ConfigError, a line each, in the order of the file."""
    texts: dict[Path, list[str]] = {}
    for error in errors:
        path = real_path(document.values, error["loc"])
        text = _say(document, error, path)
        said = texts.setdefault(path, [])
        if text not in said:
            said.append(text)
    lines = []
    for path, said in sorted(texts.items(), key=lambda item: document.line(item[0])):
        at = f"{dotted(path)}: " if path else ""
        lines.append(f"{document.place(path)}: {at}{', or '.join(said)}")
    return ConfigError("\n".join(lines))


def real_path(values: object, loc: Path) -> Path:
    """`loc` without the parts that name a Python type or field but are not in the file (`detector`, `list[str]`)."""
    path: list[str | int] = []
    here: Any = values
    for i, part in enumerate(loc):
        if isinstance(here, dict) and (
            part in here or (i == len(loc) - 1 and isinstance(part, str) and (*path, part) not in JOINED)
        ):
            here = here.get(part)
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        else:
            continue
        path.append(part)
    return tuple(path)


def _say(document: Document, error: Mapping[str, Any], path: Path) -> str:
    context = error.get("ctx", {})
    match error["type"]:
        case "config" | "unknown_type":
            return str(error["msg"])
        case "missing":
            return REQUIRED.get(str(path[-1]), "required") if path else "required"
        case "extra_forbidden":
            known = sorted(_known_keys(document.values, path[:-1]))
            allowed = f"; one of {', '.join(known)}" if known else ""
            return f"unknown key{nearest(str(path[-1]), known)}{allowed}"
        case "literal_error" | "enum":
            allowed = str(context["expected"]).replace(" or ", ", ")
            return f"{error['input']!r:.80} is not allowed; one of {allowed}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{error['input']!r:.80} is not allowed; give a mapping"
    message = str(error["msg"]).removeprefix("Value error, ").replace("Input should be ", "must be ")
    return f"{error['input']!r:.80} is not allowed; {message}"


def _known_keys(values: object, path: Path) -> set[str]:
    """The keys that the mapping at `path` may have; empty where only the stage knows."""
    shape = tuple("*" if isinstance(part, int) else part for part in path)
    if shape == ("cut", "scenes"):
        return _keys(ScenePolicy) | _keys(detector_class(_type_at(values, path)))
    if shape == ("passes", "*", "stages", "*"):
        return _keys(stage_class(_type_at(values, path)))
    return _keys(MODELS[shape]) if shape in MODELS else set()


def _keys(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def _type_at(values: Any, path: Path) -> str:  # noqa: ANN401
    for part in path:
        values = values[part]
    return str(values["type"])
