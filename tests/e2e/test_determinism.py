"""The same tars on any machine: cores, workers, SIMD levels of FFmpeg, OpenCV and x264; and the same clips in any units."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from support import cut_child
from support.composed import compose
from support.cut_child import libavutil, tars_of
from support.numbered import make_numbered
from support.runs import rows_of

from shardpipe.config.load import load_config
from shardpipe.executors.run import run_config
from shardpipe.storage.store import open_store

NO_DISPATCH = "AVX512_SKX,AVX2,FP16,AVX,SSE4_2,SSE4_1"
AVX2 = 0x8000
"""FFmpeg's flag (libavutil/cpu.h)."""
MACHINES: dict[str, dict[str, Any]] = {
    "no SIMD, 1 core": {"ffmpeg": "0", "x264": "0", "cores": 1},
    "SSE2, 2 cores": {"ffmpeg": "0x1F", "x264": "sse2", "cores": 2},
    "AVX2, 4 cores": {"x264": "avx2", "cores": 4},
}

pytestmark = pytest.mark.skipif(libavutil() is None, reason="PyAV's own FFmpeg is elsewhere")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config whose `cut` copies, cuts smartly, encodes, scales, deinterlaces, flattens and turns."""
    folder = tmp_path_factory.mktemp("determinism")
    videos = folder / "videos"
    street = (("bikes", 0, 100), ("carphone_pristine", 0, 40))
    gops = {"x264-params": "cpu-independent=1:keyint=20:scenecut=0"}  # cuts lie anywhere in them
    compose(videos / "street.mp4", street, size=(256, 144), dissolve=12, **gops)
    compose(videos / "street.avi", (("bikes", 20, 50),), size=(256, 144), codec="mpeg4", b=600000)
    tiny: dict[str, Any] = {"num_frames": 30, "size": (96, 64)}
    make_numbered(videos / "wide.mp4", sar=Fraction(4, 3), codec="mpeg4", **tiny)
    make_numbered(videos / "fields.mp4", interlaced=True, **tiny)
    make_numbered(videos / "clear.mov", codec="qtrle", pix_fmt="argb", rotation=90, **tiny)
    made = folder / "cut.json"  # JSON is YAML
    cut = {
        "sources": str(videos),
        "scenes": {"type": "adaptive", "min_s": 0.4, "max_s": 2.0},
        "write": {"method": "auto", "max_trim_s": 0},
    }
    made.write_text(json.dumps({"root": "unset", "cut": cut}), encoding="utf-8")
    return made


def cut_in_child(config: Path, machine: dict[str, Any], root: Path, *, disabled: str = "") -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, cut_child.__file__, str(config), json.dumps(machine), str(root)],
        env={**os.environ, "OPENCV_CPU_DISABLE": disabled, "PYTHONPATH": str(Path(cut_child.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def here(config: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What this machine makes, with all that it has."""
    found = cut_in_child(config, {}, tmp_path_factory.mktemp("here") / "run")
    assert found["methods"] == ["copy", "encode", "smart"]
    return found


@pytest.mark.parametrize("name", MACHINES)
def test_the_same_tars_on_any_machine(name: str, config: Path, here: dict[str, Any], tmp_path: Path) -> None:
    machine = MACHINES[name]
    if machine["x264"] == "avx2" and not here["flags"] & AVX2:
        pytest.skip("this machine has no AVX2")
    found = cut_in_child(config, machine, tmp_path / "run", disabled=NO_DISPATCH if "ffmpeg" in machine else "")
    assert found["clips"] == here["clips"]
    assert found["tars"] == here["tars"]
    if "ffmpeg" in machine:
        assert found["flags"] == int(machine["ffmpeg"], 0) != here["flags"]
    told = {"0": ["none!"], "sse2": ["MMX2 SSE2"]}.get(machine["x264"])  # the level was really set
    assert told is None or [each.replace("SSE2Fast", "SSE2") for each in found["x264"]] == told, found["x264"]


@pytest.mark.parametrize(
    "workers", [2, pytest.param(1, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)]
)
def test_the_same_tars_with_any_number_of_workers(
    workers: int, config: Path, here: dict[str, Any], tmp_path: Path
) -> None:
    run_config(load_config(config, [f"root={tmp_path / 'run'}", f"execute.workers={workers}"]))
    assert tars_of(tmp_path / "run") == here["tars"]


def test_the_same_clips_however_units_are_laid_out(config: Path, here: dict[str, Any], tmp_path: Path) -> None:
    changes = [f"root={tmp_path / 'run'}", "cut.unit_s=1", "cut.shard_bytes=20kB", "execute.type=inline"]
    run_config(load_config(config, changes))
    rows = rows_of(open_store(str(tmp_path / "run")), "clips")
    assert {key: row["sha256"] for key, row in rows.items()} == here["clips"]
    assert len(tars_of(tmp_path / "run")) > len(here["tars"])


@pytest.mark.slow
@pytest.mark.parametrize("write", [{"method": "encode", "short_side": 90, "fps": 20}, {"method": "editlist"}])
@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_the_same_tars_with_other_methods(
    machine: dict[str, Any], write: dict[str, Any], config: Path, tmp_path: Path
) -> None:
    values = json.loads(config.read_text(encoding="utf-8"))
    values["cut"]["write"] = write
    changed = tmp_path / "cut.json"
    changed.write_text(json.dumps(values), encoding="utf-8")
    usual = cut_in_child(changed, {}, tmp_path / "usual")
    found = cut_in_child(changed, machine, tmp_path / "run", disabled=NO_DISPATCH if "ffmpeg" in machine else "")
    assert (found["clips"], found["tars"]) == (usual["clips"], usual["tars"])
