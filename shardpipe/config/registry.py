"""Stages and scene detectors by the `type` that a config names: built-ins and strangers' alike, by entry point.

A package offers its own with two lines of its pyproject.toml:

    [project.entry-points."shardpipe.stages"]
    brightness = "my_package.brightness:Brightness"
"""

from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from shardpipe.core.detector import Detector
from shardpipe.core.errors import ConfigError
from shardpipe.core.stage import Stage

T = TypeVar("T", Stage, Detector)
STAGES = "shardpipe.stages"
DETECTORS = "shardpipe.detectors"


def stage_names() -> list[str]:
    """The `type` of every installed stage, sorted; imports none of them."""
    return sorted(_points(STAGES))


def detector_names() -> list[str]:
    """The `type` of every installed scene detector, sorted; imports none of them."""
    return sorted(_points(DETECTORS))


def stage_class(name: str) -> type[Stage]:
    """The stage whose `type` is `name`; raises ConfigError if there is none or it cannot be imported."""
    return _load(_find(STAGES, "stage", name), Stage)  # type: ignore[type-abstract]


def detector_class(name: str) -> type[Detector]:
    """The detector whose `type` is `name`; raises ConfigError if there is none or it cannot be imported."""
    return _load(_find(DETECTORS, "scene detector", name), Detector)


def stage_types() -> dict[str, type[Stage]]:
    """Every installed stage by its `type`."""
    return {name: stage_class(name) for name in stage_names()}


def detector_types() -> dict[str, type[Detector]]:
    """Every installed scene detector by its `type`."""
    return {name: detector_class(name) for name in detector_names()}


def nearest(word: str, known: list[str]) -> str:
    """` (did you mean X?)` for a misspelt `word`, or nothing if none of `known` is close."""
    close = get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _points(group: str) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise ConfigError(
                f"two installed packages offer the type {point.name!r} in {group}: {other.value} and {point.value};"
                " uninstall one of them"
            )
    return found


def _find(group: str, noun: str, name: str) -> EntryPoint:
    points = _points(group)
    if name not in points:
        known = sorted(points)
        allowed = ", ".join(map(repr, known))
        raise ConfigError(f"{name!r} is no {noun}{nearest(name, known)}; one of {allowed}")
    return points[name]


def _load(point: EntryPoint, base: type[T]) -> type[T]:
    try:
        loaded: object = point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{point.name!r} ({point.value}) cannot be imported: {error}") from error
    if not (isinstance(loaded, type) and issubclass(loaded, base)):
        raise ConfigError(f"{point.name!r} ({point.value}) is no subclass of {base.__name__}")
    declared = loaded.model_fields["type"].default
    if declared != point.name:
        raise ConfigError(f"{point.name!r} ({point.value}) calls itself {declared!r}; the two names must be equal")
    return loaded
