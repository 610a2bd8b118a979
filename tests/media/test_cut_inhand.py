"""Pieces encoded while the video is decoded anyway are the same, byte by byte, and nothing is decoded twice."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from support.cut_sources import x264
from support.numbered import make_numbered

from shardpipe.core.cutting import CutClip, Span, WriteSpec
from shardpipe.core.errors import MediaError
from shardpipe.core.video import VideoFacts
from shardpipe.media.cutter import Cutter
from shardpipe.media.decode import decode
from shardpipe.media.probe import probe
from shardpipe.media.reading import PacketReader

BOUNDARIES = [0, 60, 131, 200, 290, 352, 400]
LAG = 16


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, VideoFacts]:
    made = make_numbered(
        tmp_path_factory.mktemp("video") / "a.mp4",
        num_frames=400,
        size=(192, 108),
        options=x264("keyint=120"),
        key_frames=(60, 290),
    )
    return made.path, probe(made.path)


def ticks(cutter: Cutter) -> list[int]:
    return [*(int(cutter.frame_pts[at]) for at in BOUNDARIES[:-1]), cutter.index.end]


def cut_later(cutter: Cutter) -> Iterator[CutClip]:
    at = ticks(cutter)
    for number, (start, end) in enumerate(pairwise(at)):
        yield cutter.cut(Span(start, end), f"later{number}")


def cut_on_the_way(cutter: Cutter, path: Path) -> Iterator[CutClip]:
    at = ticks(cutter)
    number = 0
    for seen, frame in enumerate(decode(path)):
        cutter.see(frame)
        if number < len(at) - 1 and seen == BOUNDARIES[number] + LAG:
            cutter.mark(at[number])
            if number:
                yield cutter.cut(Span(at[number - 1], at[number]), f"now{number}")
            number += 1
    yield cutter.cut(Span(at[-2], at[-1]), "now_last")


@pytest.mark.parametrize(
    "spec",
    [
        WriteSpec(),
        WriteSpec(max_trim_s=0),
        WriteSpec(method="encode", preset="ultrafast"),
        WriteSpec(method="encode", preset="ultrafast", fps=10, short_side=64),
        WriteSpec(method="editlist"),
    ],
    ids=lambda spec: f"{spec.method}-{spec.max_trim_s}-{spec.fps}",
)
def test_nothing_is_decoded_twice(
    spec: WriteSpec, video: tuple[Path, VideoFacts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, facts = video
    with Cutter(path, facts, spec, tmp_path) as cutter:
        later = [clip.file.read_bytes() for clip in cut_later(cutter)]

    def decoded(*_args: object, **_kwargs: object) -> None:
        pytest.fail("a frame that was in hand is decoded again")

    monkeypatch.setattr(PacketReader, "frames", decoded)
    with Cutter(path, facts, spec, tmp_path) as cutter:
        now = [clip.file.read_bytes() for clip in cut_on_the_way(cutter, path)]
    assert now == later
    assert not list(tmp_path.glob(".cut*"))


def test_a_mark_that_comes_too_late_costs_only_time(video: tuple[Path, VideoFacts], tmp_path: Path) -> None:
    path, facts = video
    for spec in (WriteSpec(max_trim_s=0), WriteSpec(method="encode", preset="ultrafast")):
        with Cutter(path, facts, spec, tmp_path) as cutter:
            later = cutter.cut(Span(131 * 512, 200 * 512), "later").file.read_bytes()
        with Cutter(path, facts, spec, tmp_path) as cutter:
            for seen, frame in enumerate(decode(path)):
                cutter.see(frame)
                if seen == 260:
                    cutter.mark(131 * 512)
                    cutter.mark(200 * 512)
            assert cutter.cut(Span(131 * 512, 200 * 512), "now").file.read_bytes() == later


def test_a_clip_never_has_frames_that_the_decode_did_not_give(video: tuple[Path, VideoFacts], tmp_path: Path) -> None:
    path, facts = video
    with Cutter(path, facts, WriteSpec(), tmp_path) as cutter:
        for seen, frame in enumerate(decode(path)):
            if seen != 80:
                cutter.see(frame)
        with pytest.raises(MediaError, match="another frame"):  # neither copied nor encoded: the two do not agree
            cutter.cut(Span(60 * 512, 131 * 512), "a")
    assert not list(tmp_path.iterdir())
