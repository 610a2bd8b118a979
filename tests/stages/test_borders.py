"""Borders: bars of known size around real frames, encoded, come back to the pixel; pictures without bars have none."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.shots import VIDEOS, Change, Picture, Shot, scored, shot

from shardpipe.stages._bars import find_box
from shardpipe.testing import check_stage, score_clip

STAGE = {"type": "borders"}
NAMES: tuple[Shot, ...] = ("bikes", "bigbuckbunny")


def padded(*, top: int = 0, bottom: int = 0, left: int = 0, right: int = 0, level: int = 0) -> Change:
    return lambda x: cv2.copyMakeBorder(x, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(level,) * 3)


def small(name: Shot, count: int = 30) -> tuple[Picture, ...]:
    """Frames of 640 pixels, so that tests are fast."""
    return shot(name, first=40, count=count, width=640)


def box_of(result: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(result["crop_box"])


def assert_near(found: tuple[int, ...], true: tuple[int, ...], pixels: int) -> None:
    assert all(abs(a - b) <= pixels for a, b in zip(found, true, strict=True)), f"{found} is not near {true}"


def test_contract() -> None:
    for result in check_stage(STAGE).values():
        assert result["letterbox"] == result["pillarbox"] == 0.0
        assert result["border_kind"] == "none"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("crf", [18, 35])
@pytest.mark.parametrize(
    "bars",
    [
        {"top": 44, "bottom": 44},
        {"left": 80, "right": 80},
        {"top": 30, "bottom": 30, "left": 90, "right": 90},
        {"top": 20, "bottom": 60},
        {"bottom": 50},
        {"top": 4, "bottom": 4},
    ],
    ids="-".join,
)
def test_black_bars_to_the_pixel(name: Shot, crf: int, bars: Mapping[str, int], tmp_path: Path) -> None:
    pictures = small(name, 12)
    result = scored(STAGE, tmp_path, pictures, change=padded(**bars), crf=crf)
    height, width = pictures[0].shape[:2]
    assert_near(box_of(result), (bars.get("left", 0), bars.get("top", 0), width, height), 1)
    lines, columns = bars.get("top", 0) + bars.get("bottom", 0), bars.get("left", 0) + bars.get("right", 0)
    assert result["letterbox"] == pytest.approx(lines / (height + lines), abs=0.006)
    assert result["pillarbox"] == pytest.approx(columns / (width + columns), abs=0.006)
    assert result["border_kind"] == "black"


@pytest.mark.parametrize("level", [16, 24])
def test_bars_of_video_with_the_wrong_range_are_black(level: int, tmp_path: Path) -> None:
    result = scored(STAGE, tmp_path, small("bikes"), change=padded(top=40, bottom=40, level=level))
    assert_near(box_of(result), (0, 40, 640, 272), 1)
    assert result["border_kind"] == "black"


@pytest.mark.parametrize("level", [90, 255])
@pytest.mark.parametrize("crf", [18, 35])
def test_even_bars_of_one_colour(level: int, crf: int, tmp_path: Path) -> None:
    result = scored(STAGE, tmp_path, small("bikes"), change=padded(left=80, right=80, level=level), crf=crf)
    assert_near(box_of(result), (80, 0, 640, 272), 2)
    assert result["border_kind"] == "colour"


@pytest.mark.parametrize("name", NAMES)
def test_blurred_bars_around_a_vertical_video(name: Shot, tmp_path: Path) -> None:
    def vertical(x: Picture) -> Picture:
        height, width = x.shape[:2]
        inner = height * 9 // 16 // 2 * 2
        middle = x[:, width // 3 : width // 3 + inner]
        wide = cv2.resize(middle, (width, width * height // inner), interpolation=cv2.INTER_CUBIC)
        start = (wide.shape[0] - height) // 2
        result = cv2.GaussianBlur(wide[start : start + height], (0, 0), width / 60)
        result[:, (width - inner) // 2 : (width + inner) // 2] = middle
        return result

    pictures = small(name)
    height = pictures[0].shape[0]
    inner = height * 9 // 16 // 2 * 2
    result = scored(STAGE, tmp_path, pictures, change=vertical)
    assert_near(box_of(result), ((640 - inner) // 2, 0, inner, height), 2)
    assert result["border_kind"] == "blurred"


@pytest.mark.parametrize("name", ["bikes", "bigbuckbunny"])
def test_real_video_without_bars(name: Shot) -> None:
    result: Any = score_clip(STAGE, VIDEOS / f"{name}.mp4")
    assert result["letterbox"] == result["pillarbox"] == 0.0


@pytest.mark.parametrize("crf", [18, 35])
@pytest.mark.parametrize("name", NAMES)
def test_a_dark_scene_has_no_bars(name: Shot, crf: int, tmp_path: Path) -> None:
    result = scored(STAGE, tmp_path, small(name), change=lambda x: (x * 0.1).astype(np.uint8), crf=crf)
    assert result["border_kind"] == "none"


def test_lights_on_a_black_sky_have_no_bars(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)

    def night(_: Picture) -> Picture:
        sky = np.zeros((270, 480, 3), np.uint8)
        for _ in range(40):
            x, y = int(generator.integers(40, 440)), int(generator.normal(150, 30))
            cv2.circle(sky, (x, y), int(generator.integers(2, 9)), (255, 220, 160), -1)
        return cv2.GaussianBlur(sky, (0, 0), 4)

    result = scored(STAGE, tmp_path, small("bikes"), change=night)
    assert result["border_kind"] == "none"


def test_a_clip_that_starts_and_ends_black_keeps_its_bars(tmp_path: Path) -> None:
    pictures = tuple((x * min(1, i / 10, (29 - i) / 10)).astype(np.uint8) for i, x in enumerate(small("bikes")))
    assert_near(box_of(scored(STAGE, tmp_path, pictures, change=padded(top=40, bottom=40))), (0, 40, 640, 272), 1)
    assert scored(STAGE, tmp_path, pictures)["border_kind"] == "none"


def test_a_subtitle_and_a_logo_in_the_bars(tmp_path: Path) -> None:
    def dressed(x: Picture) -> Picture:
        wide = padded(top=44, bottom=44)(x)
        cv2.putText(wide, "what is said in this scene", (120, 345), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2)
        cv2.circle(wide, (600, 22), 14, (200, 40, 40), -1)
        return wide

    assert_near(box_of(scored(STAGE, tmp_path, small("bikes"), change=dressed)), (0, 44, 640, 272), 1)


def test_a_slide_with_white_margins_is_whole(tmp_path: Path) -> None:
    def slide(_: Picture) -> Picture:
        page = np.full((360, 640, 3), 255, np.uint8)
        for line in range(5):
            cv2.putText(
                page, "words on a page " * 2, (60, 80 + 50 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (20, 20, 20), 2
            )
        return page

    assert scored(STAGE, tmp_path, small("bikes"), change=slide)["border_kind"] == "none"


def test_where_full_size_frames_are_dark_the_box_is_never_too_wide() -> None:
    picture = cv2.cvtColor(small("bikes")[0], cv2.COLOR_RGB2GRAY)
    barred = cv2.copyMakeBorder(picture, 41, 41, 0, 0, cv2.BORDER_CONSTANT, value=0)
    few = cv2.resize(barred, (256, 256 * barred.shape[0] // 640), interpolation=cv2.INTER_AREA)
    box = find_box(few[None], np.zeros_like(barred)[None])
    assert 41 <= box.y <= 41 + 6
    assert box.y + box.height <= barred.shape[0] - 41
