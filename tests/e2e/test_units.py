"""A long video gives the same clips however it is split into units: keys, spans and bytes."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.composed import compose
from support.runs import make_config, rows_of, run_inline

from shardpipe.storage.store import open_store

LENGTHS = {"bikes": 250, "bigbuckbunny": 132, "carphone_pristine": 90}
WAYS: dict[str, dict[str, Any]] = {
    "adaptive": {"type": "adaptive", "min_s": 0.5, "max_s": 8, "trim_s": 0.1},
    "fixed": {"type": "fixed", "every_s": 3.3, "min_s": 1},
    "none": {"type": "none", "max_s": 7, "min_s": 1},
}
NUM_CLIPS = {"adaptive": 29, "fixed": 18, "none": 9}


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 s of real scenes of at most 5 s, some of them dissolving into the next."""
    rng = np.random.default_rng(7)
    pieces = []
    while sum(count for _, _, count in pieces) < 68 * 25:
        name = ("bikes", "bigbuckbunny", "carphone_pristine")[len(pieces) % 3]
        count = int(rng.integers(35, 85))
        pieces.append((name, int(rng.integers(0, LENGTHS[name] - count)), count))
    folder = tmp_path_factory.mktemp("long")
    compose(folder / "long.mp4", pieces, size=(160, 90), dissolve=10)
    return folder / "long.mp4"


def clips_of(video: Path, root: Path, way: str, unit_s: float) -> tuple[dict[str, tuple[Any, ...]], int]:
    """Each clip's row, and the number of units."""
    config = make_config(root, video, scenes=WAYS[way], write={"max_trim_s": 0.2}, unit_s=unit_s, max_failed=0)
    run_inline(config)
    store = open_store(str(root))
    rows = rows_of(store, "clips")
    names = ("start_s", "end_s", "scene", "num_frames", "cut_method", "num_encoded", "sha256")
    return {key: tuple(row[name] for name in names) for key, row in rows.items()}, len(store.list("clips/rows"))


@pytest.mark.parametrize("way", WAYS)
def test_any_unit_size_gives_the_same_clips(way: str, long_video: Path, tmp_path: Path) -> None:
    whole, one = clips_of(long_video, tmp_path / "whole", way, 1000)
    parts, many = clips_of(long_video, tmp_path / "parts", way, 10)
    assert (one, many) == (1, 6)
    assert parts == whole
    assert len(whole) == NUM_CLIPS[way]
    spans = sorted(each[:2] for each in whole.values())
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


@pytest.mark.slow
@pytest.mark.parametrize("unit_s", [3.0, 5.7, 8.0, 13.1, 20.0])
@pytest.mark.parametrize("way", WAYS)
def test_more_unit_sizes(way: str, unit_s: float, long_video: Path, tmp_path: Path) -> None:
    whole, _ = clips_of(long_video, tmp_path / "whole", way, 1000)
    assert clips_of(long_video, tmp_path / "parts", way, unit_s)[0] == whole
