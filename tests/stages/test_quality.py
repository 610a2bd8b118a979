"""Quality: formulas against plain numpy, and that each score moves as its column says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.shots import VIDEOS, Change, Shot, scored, shot

from shardpipe.core.frames import Frames
from shardpipe.stages.quality import (
    Quality,
    black_share,
    blockiness,
    blur,
    colourfulness,
    frozen_share,
    is_black,
    same_picture,
)
from shardpipe.testing import check_stage, make_clip, score_clip

STAGE = {"type": "quality"}


def gray(name: Shot, number: int = 0) -> np.ndarray:
    return cv2.cvtColor(shot(name)[number], cv2.COLOR_RGB2GRAY)


def frames(*pictures: np.ndarray, gap_s: float = 0.25) -> Frames:
    return Frames(np.stack(pictures), np.arange(len(pictures)) * gap_s)


def test_contract() -> None:
    results = check_stage(STAGE)
    assert results["black"]["black_share"] == 1.0
    assert results["black"]["blur"] is None  # no edge: nothing to call sharp or blurred
    assert results["white"]["brightness"] == 1.0
    assert results["one_frame"]["frozen_share"] is None
    assert results["slides"]["frozen_share"] == 1.0
    assert results["noise"]["frozen_share"] == 0.0


def naive_blur_effect(picture: np.ndarray) -> float:
    """Crété et al. 2007 as written, in float64, without the border that the 9-pixel mean does not reach."""
    scores = []
    for image in (picture.astype(float), picture.T.astype(float)):
        mean = np.stack([np.convolve(column, np.ones(9) / 9, mode="valid") for column in image.T], axis=1)
        sharp = np.abs(np.diff(image[4:-4], axis=0))
        soft = np.abs(np.diff(mean, axis=0))
        scores.append((sharp.sum() - np.maximum(0, sharp - soft).sum()) / sharp.sum())
    return max(scores)


def test_blur_is_the_papers() -> None:
    for name in ("bikes", "carphone_pristine"):
        picture = gray(name)
        assert blur(picture[None]) == pytest.approx(naive_blur_effect(picture), rel=1e-9)


def test_blur_of_saturated_steps_is_exact() -> None:
    picture = np.random.default_rng(3).choice(np.array([0, 255], np.uint8), (40, 50))
    assert blur(picture[None]) == pytest.approx(naive_blur_effect(picture), rel=1e-9)


def test_blur_is_the_median_of_frames_with_edges() -> None:
    sharp, flat = gray("bikes"), np.zeros_like(gray("bikes"))
    assert blur(np.stack([sharp, flat, flat])) == blur(sharp[None])
    assert blur(flat[None]) is None


def test_colourfulness_is_the_papers() -> None:
    rgb = shot("bigbuckbunny", count=1)[0]
    red, green, blue = (rgb[..., i].astype(float) for i in range(3))
    rg, yb = red - green, 0.5 * (red + green) - blue
    expected = np.sqrt(rg.var() + yb.var()) + 0.3 * np.sqrt(rg.mean() ** 2 + yb.mean() ** 2)
    assert colourfulness(rgb) == pytest.approx(expected, rel=1e-9)
    assert colourfulness(np.repeat(rgb[..., :1], 3, axis=2)) == 0.0


def test_brightness_and_contrast_are_mean_and_deviation_of_luma(tmp_path: Path) -> None:
    low, high = 40, 200
    picture = np.full((180, 320, 3), low, np.uint8)
    picture[:, 160:] = high
    result = scored(STAGE, tmp_path, (picture,) * 10)
    assert result["brightness"] == pytest.approx((low + high) / 2 / 255, abs=0.01)
    assert result["contrast"] == pytest.approx((high - low) / 2 / 255, abs=0.01)
    assert result["colourfulness"] == pytest.approx(0, abs=1)


def naive_grid(picture: np.ndarray, period: int) -> float:
    """The step at the best phase relative to that between blocks, columns and rows averaged, plain loops."""
    ratios = []
    for image in (picture.astype(float), picture.T.astype(float)):
        step = np.abs(np.diff(image, axis=1)).mean(axis=0)
        padded = np.pad(step, 4, mode="reflect")
        relative = [step[i] / ((padded[i : i + 9].sum() - step[i]) / 8 + 0.5) for i in range(len(step))]
        cells = len(step) // period
        by_phase = [np.median([relative[k * period + p] for k in range(cells)]) for p in range(period)]
        ratios.append(max(1.0, max(by_phase) / max(0.1, np.median(by_phase))))
    return 1 - 1 / float(np.mean(ratios))


def test_blockiness_is_the_clearest_grid() -> None:
    picture = cv2.imdecode(cv2.imencode(".jpg", gray("bikes"), [cv2.IMWRITE_JPEG_QUALITY, 15])[1], cv2.IMREAD_GRAYSCALE)
    expected = max(naive_grid(picture, period) for period in (8, 12, 16))
    assert blockiness(picture[None]) == pytest.approx(expected, rel=1e-6)
    assert blockiness(picture[:20, :20][None]) is None


@pytest.mark.parametrize("name", ["bikes", "carphone_pristine", "bigbuckbunny"])
def test_heavier_compression_is_blockier(name: Shot, tmp_path: Path) -> None:
    light, heavy = (scored(STAGE, tmp_path, shot(name, first=60, count=12), crf=crf) for crf in (12, 45))
    assert light["blockiness"] < 0.25
    assert heavy["blockiness"] > max(0.35, light["blockiness"] + 0.2)


@pytest.mark.parametrize("scale", [4 / 3, 1.5, 2.0])
@pytest.mark.parametrize("crop", [(0, 0), (3, 5)])
def test_blocks_are_seen_after_scaling_and_cropping(scale: float, crop: tuple[int, int]) -> None:
    def jpeg(quality: int) -> np.ndarray:
        coded = cv2.imencode(".jpg", gray("bikes"), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        picture = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)[crop[0] :, crop[1] :]
        return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)

    rough, fine = blockiness(jpeg(10)[None]), blockiness(jpeg(98)[None])
    assert rough is not None
    assert fine is not None
    assert rough > fine + 0.2


CHANGES: Mapping[str, tuple[str, Change]] = {
    "blurred": ("blur", lambda x: cv2.GaussianBlur(x, (0, 0), 2)),
    "brighter": ("brightness", lambda x: np.clip(x.astype(int) + 40, 0, 255).astype(np.uint8)),
    "scaled up": ("blur", lambda x: cv2.resize(x[::3, ::3], (x.shape[1], x.shape[0]), interpolation=cv2.INTER_CUBIC)),
    "more contrast": ("contrast", lambda x: np.clip((x.astype(float) - 100) * 1.5 + 100, 0, 255).astype(np.uint8)),
    "more colour": (
        "colourfulness",
        lambda x: np.clip(x.mean(axis=2, keepdims=True) * -0.6 + x * 1.6, 0, 255).astype(np.uint8),
    ),
}


@pytest.mark.parametrize("how", CHANGES)
@pytest.mark.parametrize("name", ["bikes", "carphone_pristine"])
def test_each_score_moves_as_documented(name: Shot, how: str, tmp_path: Path) -> None:
    column, change = CHANGES[how]
    plain = scored(STAGE, tmp_path, shot(name, count=8))
    changed = scored(STAGE, tmp_path, shot(name, count=8), change=change)
    assert changed[column] > plain[column] * 1.1


def test_scores_do_not_depend_on_fps(tmp_path: Path) -> None:
    pictures = shot("carphone_pristine", count=100)
    full = scored(STAGE, tmp_path, pictures, fps=50)
    half = scored(STAGE, tmp_path, pictures[::2], fps=25)
    for column, value in full.items():
        assert half[column] == pytest.approx(value, rel=0.1, abs=0.06), column


@pytest.mark.parametrize("crf", [18, 30])
def test_a_still_is_frozen_and_a_small_mover_is_not(crf: int, tmp_path: Path) -> None:
    background = shot("bikes", count=1)[0]

    def moving(number: int) -> np.ndarray:
        picture = background.copy()
        cv2.circle(picture, (40 + 4 * number, 100), 14, (230, 220, 60), -1)
        return picture

    still = scored(STAGE, tmp_path, (background,) * 50, crf=crf)
    mover = scored(STAGE, tmp_path, tuple(moving(i) for i in range(50)), crf=crf)
    halves = scored(STAGE, tmp_path, tuple(moving(max(0, i - 50)) for i in range(100)), crf=crf)
    assert still["frozen_share"] == 1.0
    assert mover["frozen_share"] == 0.0
    assert halves["frozen_share"] == pytest.approx(0.5, abs=0.12)


def test_black_share_of_a_clip_that_is_half_black(tmp_path: Path) -> None:
    lit = shot("carphone_pristine", count=50)
    result = scored(STAGE, tmp_path, tuple(np.zeros_like(x) for x in lit) + lit)
    assert result["black_share"] == pytest.approx(0.5, abs=0.1)


def test_black_is_ffmpegs_rule() -> None:
    picture = np.full((100, 100), 25, np.uint8)
    assert is_black(picture)
    picture[:2] = 200
    assert is_black(picture)
    picture[2, 0] = 26
    assert not is_black(picture)


def test_times_weigh_pictures_that_stand_for_long() -> None:
    black, white = np.zeros((9, 16), np.uint8), np.full((9, 16), 255, np.uint8)
    slides = Frames(np.stack([black, white]), np.array([0.0, 9.0]))
    assert black_share(slides, duration_s=10.0) == 0.9
    assert frozen_share(slides, duration_s=12.0) == 1.0
    assert frozen_share(frames(black, white), duration_s=0.5) == 0.0
    assert frozen_share(frames(black), duration_s=0.3) is None
    assert frozen_share(frames(black), duration_s=30.0) == 1.0


def test_a_slow_fade_and_a_soft_pan_are_not_frozen() -> None:
    picture = gray("carphone_pristine")
    faded = np.clip(picture.astype(int) - 4, 0, 255).astype(np.uint8)
    assert not same_picture(picture, faded)
    assert not same_picture(picture, np.roll(picture, 1, axis=1))
    assert same_picture(picture, picture)


def test_real_video_scores_in_range() -> None:
    result: Any = score_clip(Quality(), VIDEOS / "bikes.mp4")
    assert 0.3 < result["blur"] < 0.6
    assert result["blockiness"] < 0.15
    assert result["black_share"] == result["frozen_share"] == 0.0


def test_vertical_and_tiny_files(tmp_path: Path) -> None:
    for size in ((90, 160), (16, 16), (2, 2)):
        result: Any = score_clip(STAGE, make_clip(tmp_path / "a.mp4", size=size, duration_s=0.4))
        assert 0 <= result["brightness"] <= 1
