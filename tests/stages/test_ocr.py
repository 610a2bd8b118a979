"""OCR: drawn text is counted, measured and read; text-free pictures, odd sizes and silence."""

import logging
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from support.shots import Picture, Shot, shot

from shardpipe.core.errors import StageError
from shardpipe.core.frames import Frames
from shardpipe.core.stage import ClipView
from shardpipe.stages.ocr import Ocr, Region, area
from shardpipe.testing import check_stage

LINES = ("SALE 50% OFF", "Breaking news tonight", "subtitle line goes here")


@pytest.fixture(scope="module")
def reader() -> Ocr:
    stage = Ocr(text=True)
    stage.setup("cpu")
    return stage


@pytest.fixture(scope="module")
def counter() -> Ocr:
    stage = Ocr()
    stage.setup("cpu")
    return stage


def written(picture: Picture, lines: Sequence[str] = LINES) -> Picture:
    result = picture.copy()
    for i, line in enumerate(lines):
        cv2.putText(result, line, (30, 60 + 70 * i), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (0, 0, 0), 5, cv2.LINE_AA)
        cv2.putText(result, line, (30, 60 + 70 * i), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (255, 255, 255), 2, cv2.LINE_AA)
    return result


def scored(stage: Ocr, *pictures: Picture) -> Mapping[str, Any]:
    view = ClipView("clip", {}, (Frames(np.stack(pictures), np.arange(len(pictures), dtype=np.float64)),))
    (result,) = stage.process([view])
    assert isinstance(result, dict)
    return result


def plain() -> Picture:
    return shot("bigbuckbunny", first=60, count=1, width=640)[0]


def test_contract() -> None:
    results = check_stage({"type": "ocr", "num_frames": 1, "long_side": 128})
    assert results["black"] == {"ocr": 0, "ocr_area": 0.0}


def test_text_is_counted_measured_and_read(reader: Ocr) -> None:
    result = scored(reader, written(plain()))
    assert 3 <= result["ocr"] <= 5
    assert 0.05 < result["ocr_area"] < 0.25
    read = [line.lower().replace(" ", "") for line in result["ocr_text"]]
    assert [line.lower().replace(" ", "") in read for line in LINES] == [True, True, True]


def test_counts_are_the_same_with_and_without_reading(reader: Ocr, counter: Ocr) -> None:
    with_text = scored(reader, written(plain()))
    assert scored(counter, written(plain())) == {name: with_text[name] for name in ("ocr", "ocr_area")}


def test_the_frame_with_most_text_counts(counter: Ocr) -> None:
    alone = scored(counter, written(plain()))
    assert scored(counter, plain(), written(plain()), plain()) == alone


def test_text_at_the_edges_counts(counter: Ocr) -> None:
    picture = np.full((360, 640, 3), 90, np.uint8)
    cv2.putText(picture, "logo", (2, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2)
    cv2.putText(picture, "mark", (560, 350), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2)
    assert scored(counter, picture)["ocr"] == 2


@pytest.mark.parametrize(("name", "first"), [("bigbuckbunny", 60), ("bikes", 110)])
def test_pictures_without_text_have_no_sure_region(name: Shot, first: int, counter: Ocr) -> None:
    result = scored(counter, *shot(name, first=first, count=2, width=640))
    assert result["ocr"] <= 3
    assert result["ocr_area"] < 0.01


def test_a_sign_in_the_street_is_text(counter: Ocr) -> None:
    assert scored(counter, *shot("bikes", first=60, count=2, width=640))["ocr_area"] > 0.03  # half of TAXI


def test_a_line_over_several_frames_is_given_once(reader: Ocr) -> None:
    page = np.full((200, 640, 3), 40, np.uint8)
    first, second = written(page, ["the same line"]), written(page, ["the same line", "another one"])
    lines = scored(reader, first, second, first)["ocr_text"]
    assert [line.replace(" ", "") for line in lines] == ["thesameline", "anotherone"]


def test_vertical_text_is_turned_and_read(reader: Ocr) -> None:
    page = written(np.full((120, 420, 3), 40, np.uint8), ["READ ME NOW"])
    turned = np.ascontiguousarray(np.rot90(page, k=-1))
    assert scored(reader, turned)["ocr_text"] == ["READ ME NOW"]


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), (20, 20), (31, 640)])
def test_any_size(size: tuple[int, int], reader: Ocr) -> None:
    assert scored(reader, np.full((*size, 3), 128, np.uint8)) == {"ocr": 0, "ocr_area": 0.0, "ocr_text": []}


def test_area_counts_overlaps_once_and_only_sure_regions() -> None:
    def box(x: int, y: int, width: int, height: int, score: float = 0.9) -> Region:
        corners = [[x, y], [x + width - 1, y], [x + width - 1, y + height - 1], [x, y + height - 1]]
        return Region(np.array(corners, np.int32), score)

    assert area([box(0, 0, 50, 20), box(0, 0, 50, 20)], (100, 100)) == pytest.approx(0.1)
    assert area([box(0, 0, 50, 20), box(50, 50, 50, 50, score=0.4)], (100, 100)) == pytest.approx(0.1)
    assert area([], (100, 100)) == 0.0


def test_it_is_silent_and_needs_no_network(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    stage = Ocr(text=True)
    stage.setup("cpu")
    scored(stage, np.zeros((64, 64, 3), np.uint8))
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_a_gpu_that_onnxruntime_cannot_use_is_said(caplog: pytest.LogCaptureFixture) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with caplog.at_level(logging.WARNING):
        Ocr().setup("cuda:0")
    assert "onnxruntime-gpu" in caplog.text


def test_process_before_setup_is_an_error() -> None:
    with pytest.raises(StageError, match="before setup"):
        scored(Ocr(), np.zeros((8, 8, 3), np.uint8))


def test_text_adds_its_column() -> None:
    assert list(Ocr().writes) == ["ocr", "ocr_area"]
    assert list(Ocr(text=True).writes) == ["ocr", "ocr_area", "ocr_text"]
