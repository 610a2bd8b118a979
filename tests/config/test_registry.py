"""Stages and detectors by type."""

from importlib.metadata import EntryPoint

import pytest

from shardpipe.config import registry
from shardpipe.config.sizes import parse_size
from shardpipe.core.errors import ConfigError


def points(monkeypatch: pytest.MonkeyPatch, *found: tuple[str, str]) -> None:
    entries = [EntryPoint(name, value, "shardpipe.stages") for name, value in found]
    monkeypatch.setattr(registry, "entry_points", lambda **_: entries)


def test_every_built_in_loads() -> None:
    assert {"flow", "camera_motion", "quality", "borders", "ocr", "phash", "describe"} <= set(registry.stage_types())
    assert {"adaptive", "content", "transnet", "fixed", "none"} <= set(registry.detector_types())


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (("x", "nowhere_at_all:X"), "cannot be imported: No module named"),
        (("x", "shardpipe.core.stage:Nothing"), "cannot be imported"),
        (("x", "shardpipe.core.stage:ClipError"), "is no subclass of Stage"),
        (("x", "shardpipe.stages.flow:Flow"), "calls itself 'flow'; the two names must be equal"),
    ],
)
def test_bad_plugins(monkeypatch: pytest.MonkeyPatch, entry: tuple[str, str], expected: str) -> None:
    points(monkeypatch, entry)
    with pytest.raises(ConfigError, match=expected):
        registry.stage_class("x")


def test_two_plugins_of_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    points(monkeypatch, ("flow", "a:A"), ("flow", "b:B"))
    with pytest.raises(ConfigError, match=r"two installed packages offer the type 'flow'.*a:A and b:B"):
        registry.stage_class("flow")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1000", 1000), ("512MiB", 2**29), ("2GB", 2 * 10**9), ("1.5 KiB", 1536), ("4k", 4000), ("1TiB", 2**40)],
)
def test_sizes(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1 MiB please", "1XB", "1e3"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ConfigError, match="is no size"):
        parse_size(text)
