"""What shardpipe finds in real videos is what it found before: see `support/golden.py`; `scripts/golden` writes it anew."""

from typing import Any

import pytest
from support import golden


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return golden.find_all(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("name", golden.NAMES)
def test_golden(name: str, found: dict[str, Any]) -> None:
    changed = list(golden.differences(golden.read(name), found[name]))
    assert not changed, "\n".join(
        [*changed[:40], "If that is meant: scripts/golden, and look at the difference in git"]
    )


def test_every_float_column_has_a_tolerance(found: dict[str, Any]) -> None:
    for values in found.values():
        for clip in values["clips"]:
            floats = {name for name, value in clip.items() if isinstance(value, float)}
            assert floats <= set(golden.TOLERANCES)


def test_differences_are_seen() -> None:
    old: dict[str, Any] = {
        "n": 1,
        "flow_px_s": 10.0,
        "phash": "ff00",
        "cmotion": ["static"],
        "cuts": {"a": [[1.0, 2.0]]},
    }
    near = old | {"flow_px_s": 10.1, "phash": "fe01", "cuts": {"a": [[1.0000001, 2.0]]}}
    assert list(golden.differences(old, near)) == []
    for name, value in (
        ("n", 2), ("n", 1.0), ("n", None), ("flow_px_s", 11.0), ("phash", "00ff"), ("cmotion", []),
        ("cmotion", ["shake"]), ("cuts", {"a": [[1.01, 2.0]]}), ("cuts", {}), ("more", 1),
    ):  # fmt: skip
        assert len(list(golden.differences(old, old | {name: value}))) == 1, (name, value)
