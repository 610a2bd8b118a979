"""Clips of real videos show the very pictures of their span: the same bits where copied, near ones where encoded."""

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import av
import cv2
import decord
import numpy as np
import pytest
from numpy.typing import NDArray
from support.cut_checks import span_of
from support.ffmpeg_cli import FFMPEG, ffmpeg_pictures

from shardpipe.core.cutting import CutClip, WriteSpec
from shardpipe.core.video import VideoFacts
from shardpipe.media.cutter import Cutter
from shardpipe.media.decode import decode
from shardpipe.media.probe import probe

VIDEOS = Path(__file__).parents[1] / "assets" / "videos"
NAMES = ("bigbuckbunny", "bikes", "carphone_pristine")
SPECS = {
    "auto": WriteSpec(audio=True),
    "to the frame": WriteSpec(audio=True, max_trim_s=0),
    "encode": WriteSpec(method="encode", audio=True, preset="superfast"),
    "editlist": WriteSpec(method="editlist", audio=True),
}
MIN_PSNR = 35.0
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Real:
    """A real video, and its frames' pictures (luma, and below it both chroma planes side by side) and times."""

    path: Path
    facts: VideoFacts
    pictures: tuple[Picture, ...]
    pts: tuple[int, ...]


@cache
def real(name: str) -> Real:
    path = VIDEOS / f"{name}.mp4"
    frames = [(planes(frame), frame.pts or 0) for frame in decode(path)]
    return Real(path, probe(path), tuple(each[0] for each in frames), tuple(each[1] for each in frames))


def planes(frame: av.VideoFrame) -> Picture:
    flat, height, width = frame.to_ndarray().ravel(), frame.height, frame.width
    u, v = flat[height * width :].reshape(2, height // 2, width // 2)
    return np.concatenate([flat[: height * width].reshape(height, width), np.hstack([u, v])])


def pictures_of(path: Path) -> list[Picture]:
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        return [planes(frame) for frame in container.decode(video=0)]


def psnr(a: Picture, b: Picture) -> float:
    """Of luma, dB."""
    return cv2.PSNR(np.ascontiguousarray(a), np.ascontiguousarray(b))


def check(video: Real, clip: CutClip) -> None:
    low, high = np.searchsorted(video.pts, (clip.span.start, clip.span.end))
    wanted = video.pictures[low:high]
    shown = pictures_of(clip.file)
    what = (video.path.name, clip.method, low, high)
    assert len(shown) == len(wanted) == clip.num_frames, what
    counts = {"cv2": count_cv2(clip.file)}
    if clip.method != "editlist":
        counts["decord"] = len(decord.VideoReader(str(clip.file), num_threads=1))
    assert set(counts.values()) == {len(wanted)}, (what, counts)
    assert clip.has_audio == video.facts.has_audio
    if shown[0].shape != wanted[0].shape:  # pixels made square
        wanted = tuple(square(each, clip) for each in wanted)
    same = [np.array_equal(a, b) for a, b in zip(shown, wanted, strict=True)]
    if clip.method in ("copy", "editlist"):
        assert all(same), what
    assert len(same) - sum(same) <= clip.num_encoded, what  # what was copied has the same bits
    luma = clip.height
    for number in np.flatnonzero(~np.array(same)):
        own = psnr(shown[number][:luma], wanted[number][:luma])
        assert own > MIN_PSNR, (what, number, own)
        for beside in (low + number - 1, low + number + 1):
            if 0 <= beside < len(video.pictures):
                other = video.pictures[beside]
                other = other if other.shape == shown[number].shape else square(other, clip)
                apart = psnr(other[:luma], wanted[number][:luma])
                assert psnr(shown[number][:luma], other[:luma]) < own or apart > own, (what, number)


def square(picture: Picture, clip: CutClip) -> Picture:
    """A source's picture in the size of a clip whose pixels were made square: luma alone is right."""
    luma = picture[: picture.shape[0] * 2 // 3]
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(luma), format="gray")
    scaled = frame.reformat(clip.width, clip.height, "gray", interpolation="BICUBIC").to_ndarray()
    return np.concatenate([scaled, np.zeros((clip.height // 2, clip.width), np.uint8)])


def count_cv2(path: Path) -> int:
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.grab():
        count += 1
    capture.release()
    return count


def check_all(name: str, method: str, wanted: list[tuple[int, int]], scratch: Path) -> list[CutClip]:
    video = real(name)
    clips = []
    with Cutter(video.path, video.facts, SPECS[method], scratch) as cutter:
        assert tuple(cutter.frame_pts) == video.pts
        for number, (first, stop) in enumerate(wanted):
            clips.append(cutter.cut(span_of(cutter, first, stop), f"clip{number}"))
            check(video, clips[-1])
    if FFMPEG:
        for clip, pictures in zip(clips, ffmpeg_pictures([clip.file for clip in clips], colors=True), strict=True):
            by_pyav = pictures_of(clip.file)
            assert len(pictures) == len(by_pyav)
            assert all(np.array_equal(a, b) for a, b in zip(pictures, by_pyav, strict=True)), clip.file
    return clips


@pytest.mark.parametrize("method", SPECS)
@pytest.mark.parametrize(
    ("name", "first", "stop"), [("bikes", 30, 76), ("bikes", 61, 187), ("carphone_pristine", 50, 90)]
)
def test_clips_of_real_videos(name: str, first: int, stop: int, method: str, tmp_path: Path) -> None:
    check_all(name, method, [(first, stop)], tmp_path)


def test_a_real_video_is_copied_where_it_may_be(tmp_path: Path) -> None:
    """Bikes has keyframes at frames 30, 76, 137, 187 and 242, where its shots begin."""
    clips = check_all("bikes", "to the frame", [(30, 76), (76, 187), (70, 137), (100, 150)], tmp_path)
    assert [clip.method for clip in clips] == ["copy", "copy", "smart", "smart"]


@pytest.mark.slow
@pytest.mark.parametrize("method", SPECS)
@pytest.mark.parametrize("name", NAMES)
def test_many_clips_of_real_videos(name: str, method: str, tmp_path: Path) -> None:
    count = len(real(name).pts)
    rng = random.Random(f"{name} {method}")
    spans = [(0, count), (0, 1), (count - 1, count)]
    spans += [tuple(sorted(rng.sample(range(count + 1), 2))) for _ in range(12 if name == "bigbuckbunny" else 40)]
    for at in range(0, len(spans), 8):
        folder = tmp_path / str(at)
        folder.mkdir()
        for clip in check_all(name, method, spans[at : at + 8], folder):
            clip.file.unlink()
