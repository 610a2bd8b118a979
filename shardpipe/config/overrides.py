"""`--set passes.train.keep.0="match >= 22"`: one value of a config, replaced from the command line."""

from typing import Any

from shardpipe.config.document import Document, Path, dotted, read_document
from shardpipe.config.registry import nearest
from shardpipe.core.errors import ConfigError


def apply_override(document: Document, text: str) -> None:
    """Put the value of `path=value` into `document`. The value is YAML; passes may be named in place of counted.

    Mappings and lists that are not there yet are made; a list grows by its next position. Raises ConfigError.
    """
    name, equals, value = text.partition("=")
    parts = name.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set {text}: give path=value, as in --set root=demo/run")
    where = f"--set {name.strip()}"
    if document.values is None:
        document.values = {}
    here: Any = document.values
    path: Path = ()
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        key = _position(here, part, path, where)
        path = (*path, key)
        if following is None:
            _store(here, key, _read(value, where))
        else:
            here = _descend(here, key, following)
    document.overwrite(path, where)


def _read(value: str, where: str) -> object:
    try:
        return read_document(value, where).values
    except ConfigError as error:
        raise ConfigError(
            f"{error}. The value is YAML: a text that begins with a quote or bracket, or holds `: ` or ` #`, needs "
            "quotes around all of it"
        ) from error


def _position(here: object, part: str, path: Path, where: str) -> str | int:
    """The key or list position that `part` means in the value `here`, which stands at `path`."""
    if isinstance(here, dict):
        return part
    if not isinstance(here, list):
        raise ConfigError(
            f"{where}: {dotted(path)} is {here!r}, which has no {part!r} inside; set {dotted(path)} as a whole"
        )
    names = [each.get("name") for each in here if isinstance(each, dict)]
    for i, each in enumerate(here):
        if isinstance(each, dict) and each.get("name") == part:
            return i
    if not part.isdecimal():
        known = [name for name in names if isinstance(name, str)]
        allowed = ", ".join([*map(repr, known), f"0 to {len(here)}"])
        raise ConfigError(f"{where}: {dotted(path)} has no {part!r}{nearest(part, known)}; one of {allowed}")
    if int(part) > len(here):
        raise ConfigError(f"{where}: {dotted(path)} has {len(here)} entries, so the highest position is {len(here)}")
    return int(part)


def _descend(here: Any, key: str | int, following: str) -> Any:  # noqa: ANN401
    """The value at `key`, made as an empty list or mapping (as `following` needs it) if there is none."""
    missing = key not in here or here[key] is None if isinstance(here, dict) else key == len(here)
    if missing:
        _store(here, key, [] if following.isdecimal() else {})
    return here[key]


def _store(here: Any, key: str | int, value: object) -> None:  # noqa: ANN401
    if isinstance(here, list) and key == len(here):
        here.append(value)
    else:
        here[key] = value
