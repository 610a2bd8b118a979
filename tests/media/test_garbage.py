"""Broken videos become errors or frames; no reader crashes, hangs or leaks."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from support import garbage
from support.numbered import make_numbered

VIDEOS = Path(__file__).parents[1] / "assets/videos"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real clips, the same in other containers, and small ones of other codecs."""
    folder = tmp_path_factory.mktemp("videos")
    for name in ("bikes.mp4", "carphone_pristine.mp4"):
        (folder / name).write_bytes((VIDEOS / name).read_bytes())
    for suffix in ("mkv", "ts", "flv", "mov"):
        garbage.remuxed(VIDEOS / "carphone_pristine.mp4", folder / f"carphone.{suffix}")
    small = {"num_frames": 60, "size": (160, 96)}
    make_numbered(folder / "hevc.mp4", codec="libx265", **small)
    make_numbered(folder / "vp9.webm", codec="libvpx-vp9", **small)
    make_numbered(folder / "av1.mp4", codec="libsvtav1", **small)
    make_numbered(folder / "mpeg2.mpg", codec="mpeg2video", options={"bf": "2"}, **small)
    make_numbered(folder / "mpeg4.avi", codec="mpeg4", options={"bf": "2"}, **small)
    return folder


def read_mutations(videos: Path, first: int, last: int, timeout: int) -> Counter[str]:
    """Read them in one child; how often each reader gave frames or an error. Fails with the mutation that broke it."""
    child = subprocess.run(
        [sys.executable, str(Path(garbage.__file__)), str(videos), str(first), str(last)],
        env={**os.environ, "PYTHONFAULTHANDLER": "1", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    lines = [json.loads(line) for line in child.stdout.splitlines()]
    assert child.returncode == 0, (
        f"{lines[-1] if lines else 'at once'}: exit {child.returncode}\n{child.stderr[-2000:]}"
    )
    assert lines[-1] == {"leaked": 0}
    results = Counter[str]()
    for line in lines:
        for reader, answer in line.get("went", {}).items():
            results[f"{reader} {'ok' if answer == 'ok' else 'error'}"] += 1
            assert "nothing" not in answer, line
    ends = [line for line in lines if "end" in line]
    assert len(ends) == last - first
    assert ends[-1]["peak_kb"] < 1_500_000
    return results


def test_mutations_of_real_files(videos: Path) -> None:
    results = read_mutations(videos, 0, 72, 300)
    assert results["decode ok"] >= 5  # else the mutations are too crude to reach the decoders
    assert results["decode error"] >= 15
    assert results["sample error"] >= 15


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 1720, 120))
def test_many_more_mutations(videos: Path, first: int) -> None:
    read_mutations(videos, first, first + 120, 1200)
