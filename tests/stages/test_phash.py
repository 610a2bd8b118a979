"""Phash: copies of a clip are near, other clips far; `distance` and its DuckDB form agree."""

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import cv2
import duckdb
import numpy as np
import pytest
from support.shots import Change, Picture, Shot, scored, shot

from shardpipe.stages.phash import distance, frame_hash
from shardpipe.testing import check_stage

STAGE = {"type": "phash"}
COPY, OTHER = 0.1, 0.25
PARTS: tuple[tuple[Shot, int], ...] = (("bikes", 0), ("bikes", 100), ("carphone_pristine", 0), ("bigbuckbunny", 60))


def part(name: Shot, first: int) -> tuple[Picture, ...]:
    return shot(name, first=first, count=16, width=480)


def scaled(width: float, height: float) -> Change:
    def change(x: Picture) -> Picture:
        size = int(x.shape[1] * width) // 2 * 2, int(x.shape[0] * height) // 2 * 2
        return cv2.resize(x, size, interpolation=cv2.INTER_AREA)

    return change


COPIES: Mapping[str, tuple[int, Change]] = {
    "encoded again": (32, lambda x: x),
    "half the size": (20, scaled(0.5, 0.5)),
    "squeezed": (20, scaled(0.75, 1)),
    "brighter": (20, lambda x: np.clip(x * 1.1 + 10, 0, 255).astype(np.uint8)),
    "less contrast": (20, lambda x: (x * 0.8 + 26).astype(np.uint8)),
    "letterboxed": (20, lambda x: cv2.copyMakeBorder(x, 40, 40, 0, 0, cv2.BORDER_CONSTANT)),
    "pillarboxed": (20, lambda x: cv2.copyMakeBorder(x, 0, 0, 60, 60, cv2.BORDER_CONSTANT)),
}


def test_contract() -> None:
    results = check_stage(STAGE)
    assert results["black"] == results["white"] == {"phash": "0" * 64}
    assert {len(result["phash"]) for result in results.values()} == {64}  # short clips too


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize(("name", "first"), PARTS[1:])
def test_copies_are_near(name: Shot, first: int, how: str, tmp_path: Path) -> None:
    crf, change = COPIES[how]
    original = scored(STAGE, tmp_path, part(name, first), crf=12)["phash"]
    copy = scored(STAGE, tmp_path, part(name, first), change=change, crf=crf)["phash"]
    assert distance(original, copy) < COPY


def test_another_frame_rate_is_a_copy(tmp_path: Path) -> None:
    pictures = part("carphone_pristine", 0)
    full = scored(STAGE, tmp_path, pictures, fps=50)["phash"]
    half = scored(STAGE, tmp_path, pictures[::2], fps=25)["phash"]
    assert distance(full, half) < COPY


def test_other_clips_are_far(tmp_path: Path) -> None:
    hashes = [scored(STAGE, tmp_path, part(name, first))["phash"] for name, first in PARTS]
    assert min(distance(a, b) for a, b in combinations(hashes, 2)) > OTHER


def test_a_mirrored_picture_is_another(tmp_path: Path) -> None:
    pictures = part("bikes", 100)
    plain = scored(STAGE, tmp_path, pictures)["phash"]
    mirrored = scored(STAGE, tmp_path, pictures, change=lambda x: x[:, ::-1])["phash"]
    assert distance(plain, mirrored) > OTHER


def test_coding_noise_on_one_colour_gives_no_bits() -> None:
    noise = np.random.default_rng(1).integers(126, 130, (144, 256), dtype=np.uint8)
    assert frame_hash(noise) == 0


def test_bits_are_the_signs_of_low_frequencies() -> None:
    rows = np.cos(np.pi * (np.arange(32) + 0.5) * 3 / 32)[:, None] * np.ones((1, 32))
    picture = (128 + 100 * rows).round().astype(np.uint8)
    assert frame_hash(picture) == 1 << (63 - 3 * 8)  # vertical frequency 3, horizontal 0, first bit highest


def test_distance() -> None:
    assert distance("ff00", "ff00") == 0.0
    assert distance("ffff", "0000") == 1.0
    assert distance("8000", "0000") == 1 / 16
    with pytest.raises(ValueError, match="4 and 8 digits"):
        distance("ff00", "ff00ff00")
    with pytest.raises(ValueError, match="cannot be compared"):
        distance("", "")


def test_the_duckdb_form_agrees(tmp_path: Path) -> None:
    a, b = (scored(STAGE, tmp_path, part(*PARTS[i]))["phash"] for i in (0, 1))
    bits = duckdb.execute("SELECT bit_count(xor(unhex(?)::BIT, unhex(?)::BIT))", [a, b]).fetchall()[0][0]
    assert bits == distance(a, b) * 256


def test_num_frames_sets_the_length(tmp_path: Path) -> None:
    assert len(scored({"type": "phash", "num_frames": 2}, tmp_path, part("bikes", 100))["phash"]) == 32
