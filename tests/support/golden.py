"""What shardpipe finds in four videos, as numbers to be kept in tests/golden: facts, cuts, spans, clips, scores.

`scripts/golden` writes them, `tests/test_golden.py` compares. Whole numbers and texts must be equal; of other numbers
the last digits depend on the processor, so each has a tolerance.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import chdir
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from support.composed import STREET, VIDEOS, compose
from support.runs import make_config, rows_of, run_inline

from shardpipe.config.parts import ScenesConfig
from shardpipe.core.scene import FrameGrid, part_edges, spans_between
from shardpipe.engine.cutting.detect import Part, detect
from shardpipe.media.probe import probe
from shardpipe.storage.store import open_store

FOLDER = Path(__file__).parents[1] / "golden"
NAMES = ("bigbuckbunny", "bikes", "carphone_pristine", "composed")
POLICY = {"min_s": 0.5, "max_s": 4.0, "long": "split"}
DETECTORS = ("adaptive", "content")
STAGES = ("flow", "camera_motion", "quality", "borders", "phash")
UNSTABLE = {"sha256", "num_bytes", "bit_rate", "shard", "offset", "size", "path", "source", "xxh128"}
"""Columns that other releases of the encoders change."""


@dataclass(frozen=True)
class Tolerance:
    """How far a number may be from the golden one: `absolute` + `relative` times its size. bits: of a hash in hex."""

    absolute: float = 0.0
    relative: float = 0.0
    bits: int = 0


TIME = Tolerance(absolute=1e-6)
TOLERANCES: dict[str, Tolerance] = {
    **dict.fromkeys(("start_s", "end_s", "duration_s", "cuts", "spans"), TIME),
    **dict.fromkeys(("fps", "aspect_ratio"), Tolerance(relative=1e-9)),
    **dict.fromkeys(("flow_px_s", "flow_px_s_p90"), Tolerance(absolute=0.05, relative=0.01)),
    **dict.fromkeys(("cmotion_pan", "cmotion_tilt", "cmotion_zoom"), Tolerance(absolute=0.003, relative=0.05)),
    "cmotion_roll": Tolerance(absolute=0.3, relative=0.05),
    "cmotion_shake": Tolerance(absolute=0.003, relative=0.05),
    **dict.fromkeys(("brightness", "contrast", "colourfulness"), Tolerance(absolute=1e-4, relative=1e-3)),
    **dict.fromkeys(("blur", "blockiness"), Tolerance(absolute=1e-3, relative=0.01)),
    **dict.fromkeys(("black_share", "frozen_share", "letterbox", "pillarbox"), Tolerance(absolute=0.01)),
    "phash": Tolerance(bits=8),
}


def make_videos(folder: Path) -> None:
    """The real clips, and one composed of them, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES[:-1]:
        shutil.copy(VIDEOS / f"{name}.mp4", folder)
    compose(folder / "composed.mp4", STREET, dissolve=20)


def find_all(folder: Path) -> dict[str, Any]:
    """The golden numbers of each video, by name; `folder` is for the run. Urls are relative, so keys never change."""
    make_videos(folder / "videos")
    with chdir(folder):
        config = make_config(
            "run",
            "videos",
            [{"name": "score", "stages": [{"type": each} for each in STAGES]}],
            scenes={"type": "adaptive", **POLICY},
            max_failed=0.0,
        )
        run_inline(config)
        rows = rows_of(open_store("run"), "score")
        return {name: _of_one(Path("videos") / f"{name}.mp4", rows) for name in NAMES}


def _of_one(video: Path, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    facts = probe(video)
    shown = {name: _plain(value) for name, value in asdict(facts).items() if name not in UNSTABLE}
    found: dict[str, Any] = {"facts": shown, "cuts": {}, "spans": {}}
    for name in DETECTORS:
        scenes = ScenesConfig.model_validate({"type": name, **POLICY})
        seen = detect(video, facts, Part(), detector=scenes.detector, policy=scenes.policy)
        grid = FrameGrid(np.array(seen.pts) * float(facts.time_base), seen.end_s)
        start_s = float(seen.pts[0] * facts.time_base)
        edges = part_edges(
            scenes.policy,
            seen.transitions,
            start_s=start_s,
            end_s=seen.end_s,
            grid=grid,
            start_edge_s=None,
            end_edge_s=None,
        )
        assert edges is not None
        spans = spans_between(scenes.policy, seen.transitions, edges, grid)
        found["cuts"][name] = [[each.start_s, each.end_s] for each in seen.transitions]
        found["spans"][name] = [[each.scene_s, each.start_s, each.end_s] for each in spans]
    own = [row for row in rows.values() if row["source"] == video.as_posix()]
    found["clips"] = [
        {name: value for name, value in row.items() if name not in UNSTABLE and name != "members"}
        for row in sorted(own, key=lambda row: row["start_s"])
    ]
    return found


def _plain(value: object) -> object:
    return f"{value.numerator}/{value.denominator}" if isinstance(value, Fraction) else value


def write(found: Mapping[str, Any], folder: Path = FOLDER) -> None:
    """One JSON file a video."""
    for name, values in found.items():
        text = json.dumps(values, indent=1, sort_keys=True, allow_nan=False)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def read(name: str) -> dict[str, Any]:
    """The golden numbers of one video."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def differences(golden: object, found: object, at: tuple[str, ...] = ()) -> Iterator[str]:
    """A line for each place where `found` is not what `golden` says, within tolerances."""
    if isinstance(golden, dict) and isinstance(found, dict):
        for name in sorted({*golden, *found}):
            if name not in golden or name not in found:
                yield f"{'.'.join((*at, name))}: only in {'golden' if name in golden else 'what was found'}"
            else:
                yield from differences(golden[name], found[name], (*at, name))
    elif isinstance(golden, list) and isinstance(found, list):
        if len(golden) != len(found):
            yield f"{'.'.join(at)}: {golden} became {found}"
            return
        for i, (old, new) in enumerate(zip(golden, found, strict=True)):
            yield from differences(old, new, (*at, str(i)))
    elif not _near(golden, found, _tolerance(at)):
        yield f"{'.'.join(at)}: {golden!r} became {found!r}"


def _tolerance(at: tuple[str, ...]) -> Tolerance:
    return next((TOLERANCES[name] for name in reversed(at) if name in TOLERANCES), Tolerance())


def _near(golden: object, found: object, allowed: Tolerance) -> bool:
    if allowed.bits and isinstance(golden, str) and isinstance(found, str) and len(golden) == len(found):
        return (int(golden, 16) ^ int(found, 16)).bit_count() <= allowed.bits
    if isinstance(golden, float) and isinstance(found, float):
        return abs(golden - found) <= allowed.absolute + allowed.relative * abs(golden)
    return type(golden) is type(found) and golden == found
