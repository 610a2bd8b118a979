"""What shardpipe finds in real videos is what it found before: see `support/golden.py`; `scripts/golden` writes it anew."""

import json
import os
import subprocess
import sys
from pathlib import Path
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


OTHER_MACHINE = """
import json, sys
from pathlib import Path
from support.cut_child import settle
settle({"ffmpeg": "0x1F", "x264": "sse2"})
from support import golden
print(json.dumps(golden.find_all(Path(sys.argv[1]))))
"""


@pytest.mark.slow
def test_tolerances_cover_other_processors(found: dict[str, Any], tmp_path: Path) -> None:
    """FFmpeg and x264 with SSE2 alone; OpenCV and NumPy without what they choose by the processor."""
    older = {
        "OPENCV_CPU_DISABLE": "AVX512_SKX,AVX2,FP16,AVX,SSE4_2,SSE4_1",
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4",
    }
    done = subprocess.run(
        [sys.executable, "-c", OTHER_MACHINE, str(tmp_path)],
        env={**os.environ, **older, "PYTHONPATH": str(Path(golden.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    changed = list(golden.differences(found, json.loads(done.stdout.splitlines()[-1])))
    assert not changed, "\n".join(changed)


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
