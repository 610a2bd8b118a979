"""A config from a YAML file, a mapping or a Config, checked as a whole before anything runs."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails

from shardpipe.config.document import Document, dotted, read_document
from shardpipe.config.document import Path as Place
from shardpipe.config.explain import explain
from shardpipe.config.models import Config, order_faults
from shardpipe.config.overrides import apply_override
from shardpipe.core.errors import ConfigError
from shardpipe.core.secrets import INSTEAD, holds_one, known_secrets, secret_in


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The config in the YAML file `path`, with `overrides` (each `path=value`) put in before it is checked.

    Raises ConfigError that names file and line, the place in the config, the bad value and what is allowed, for all
    faults at once. Environment variables are not expanded. Relative paths are relative to the working directory.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: the config cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: the config is not UTF-8 text: {error}") from error
    document = read_document(text, str(path))
    for override in overrides:
        apply_override(document, override)
    return _check(document)


def parse_config(values: Mapping[str, Any], overrides: Sequence[str] = ()) -> Config:
    """The config in a mapping of the same shape as the YAML file; stages and detectors may be instances already."""
    document = Document(copy.deepcopy(dict(values)), {}, "config")
    for override in overrides:
        apply_override(document, override)
    return _check(document)


def as_config(config: Config | str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Config:
    """A Config from whatever names one: itself, a YAML file's path, or a mapping."""
    if isinstance(config, str | Path):
        return load_config(config, overrides)
    if isinstance(config, Config):
        return parse_config(config.model_dump(by_alias=True), overrides) if overrides else config
    return parse_config(config, overrides)


def _check(document: Document) -> Config:
    if not isinstance(document.values, dict):
        what = "is empty" if document.values is None else "is no mapping"
        raise ConfigError(f"{document.place(())}: the config {what}; it needs at least root, and cut or passes")
    _refuse_secrets(document)
    try:
        config = Config.model_validate(document.values)
    except ValidationError as error:
        found: list[Mapping[str, Any]] = [dict(each) for each in error.errors(include_url=False)]
    else:
        if flags := list(_flags(document.values, config.model_dump(by_alias=True), ())):
            raise explain(document, flags)
        return config
    # pydantic checks the order of passes only where all else is right; the reader wants every fault at once
    found += [{**each, "type": "config", "msg": str(each["type"])} for each in _order_faults(document.values)]
    raise explain(document, found)


def _refuse_secrets(document: Document) -> None:
    """Raise ConfigError where a text of the config is or carries a secret: Datasets keep most of it. No message shows it."""
    lines, known = [], known_secrets()
    for path, text in _texts(document.values, ()):
        secret = "a key of this process" if holds_one(text, known) else secret_in(text)
        if secret is not None:
            lines.append(f"{document.place(path)}: {dotted(path)}: carries {secret}; leave it out: {INSTEAD}")
    if lines:
        raise ConfigError("\n".join(lines))


def _texts(value: object, path: Place) -> Iterator[tuple[Place, str]]:
    """All texts in the values of a config, each with its place."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, (*path, key))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _texts(item, (*path, i))


def _flags(given: object, read: object, path: Place) -> Iterator[Mapping[str, Any]]:
    """Faults for each true or false in `given` that was read as a number, as pydantic does."""
    if isinstance(given, Mapping) and isinstance(read, Mapping):
        for key in given.keys() & read.keys():
            yield from _flags(given[key], read[key], (*path, key))
    elif isinstance(given, list) and isinstance(read, list | tuple):
        for i, (item, item_read) in enumerate(zip(given, read, strict=False)):
            yield from _flags(item, item_read, (*path, i))
    elif isinstance(given, bool) and isinstance(read, int | float) and not isinstance(read, bool):
        word = str(given).lower()
        yield {"type": "config", "loc": path, "msg": f"{word} is not allowed; must be a number", "input": given}


def _order_faults(values: Mapping[str, Any]) -> Iterator[InitErrorDetails]:
    passes = values.get("passes")
    if not isinstance(passes, list):
        return
    pairs: list[tuple[str, list[str] | str]] = []
    for each in passes:
        name, source = (each.get("name"), each.get("from")) if isinstance(each, Mapping) else (None, None)
        if isinstance(source, list):
            source = source if all(isinstance(item, str) for item in source) else []
        pairs.append((name if isinstance(name, str) else "", source if isinstance(source, str | list) else []))
    yield from order_faults(pairs)
