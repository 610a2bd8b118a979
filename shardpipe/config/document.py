"""A YAML file as plain values, with the line on which each of them stands. Strict: a key may be given once."""

import math
import sys
from collections.abc import Hashable
from typing import Any

import yaml

from shardpipe.core.errors import ConfigError

Path = tuple[str | int, ...]
"""Where a value stands: keys and list positions from the top, as in ("passes", 0, "name")."""

TIMESTAMP = "tag:yaml.org,2002:timestamp"


class Document:
    """Values read from one YAML text, and where each stands (`FILE:LINE`, or the override that set it)."""

    def __init__(self, values: Any, places: dict[Path, str], name: str) -> None:  # noqa: ANN401  any YAML value
        self.values = values
        self.name = name
        self._places = places

    def place(self, path: Path) -> str:
        """`FILE:LINE` of the value at `path`, or of what it would stand in."""
        for length in range(len(path), -1, -1):
            if path[:length] in self._places:
                return self._places[path[:length]]
        return self.name

    def line(self, path: Path) -> int:
        """The line of the value at `path`; what an override set comes after all lines."""
        _, _, line = self.place(path).removeprefix(self.name).rpartition(":")
        return int(line) if line.isdecimal() else sys.maxsize

    def overwrite(self, path: Path, place: str) -> None:
        """Note that the value at `path`, and all inside it, now comes from `place`."""
        for inner in [known for known in self._places if known[: len(path)] == path]:
            del self._places[inner]
        self._places[path] = place


def read_document(text: str, name: str) -> Document:
    """The values of YAML `text`; raises ConfigError with `name` and the line. Timestamps stay text."""
    places: dict[Path, str] = {}
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            values = None if node is None else _Reader(loader, name, places).value(node, ())
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{name}:{line}: not valid YAML: the character {chr(error.character)!r} is not allowed"
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        raise ConfigError(f"{where}: not valid YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: not valid YAML: {error}") from error
    return Document(values, places, name)


class _Reader:
    """Makes values of YAML nodes and writes down their lines."""

    def __init__(self, loader: yaml.SafeLoader, name: str, places: dict[Path, str]) -> None:
        self._loader = loader
        self._name = name
        self._places = places

    def value(self, node: yaml.Node, path: Path) -> Any:  # noqa: ANN401
        self._places.setdefault(path, self._line(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        if node.tag == TIMESTAMP:
            return node.value
        value = self._loader.construct_object(node)
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{self._line(node)}: {dotted(path)}: {node.value} is no usable number")
        return value

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        lines: dict[Hashable, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"{self._line(key)}: {dotted(path)}: a key must be a word")
            if key.value in lines:
                raise ConfigError(
                    f"{self._line(key)}: {dotted((*path, key.value))}: given twice, first on line {lines[key.value]}"
                )
            lines[key.value] = key.start_mark.line + 1
        self._loader.flatten_mapping(node)  # puts what `<<` merges first, so the mapping's own keys win
        values: dict[str, Any] = {}
        for key, item in node.value:
            at = (*path, key.value)
            self._places[at] = self._line(key)
            values[key.value] = self.value(item, at)
        return values

    def _line(self, node: yaml.Node) -> str:
        return f"{self._name}:{node.start_mark.line + 1}"


def dotted(path: Path) -> str:
    """`passes.0.name`"""
    return ".".join(map(str, path))
