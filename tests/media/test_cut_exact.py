"""Clips of every kind of source show exactly the frames of their span, in PyAV, OpenCV and decord, and ffmpeg."""

import random
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from support.cut_checks import Source, check_by_ffmpeg, check_clip, cutter_of, read_source, span_of
from support.cut_sources import MADE, QUICK, SOURCES, make_source

from shardpipe.core.cutting import WriteSpec

Sources = Callable[[str], Source]
ALL = (*SOURCES, *MADE)
SPECS = {
    "auto": WriteSpec(),
    "to the frame": WriteSpec(max_trim_s=0),
    "encode": WriteSpec(method="encode", preset="ultrafast"),
    "editlist": WriteSpec(method="editlist"),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    folder = tmp_path_factory.mktemp("sources")

    @cache
    def source(name: str) -> Source:
        return read_source(make_source(name, folder).path)

    return source


def spans(num_frames: int, count: int, seed: int) -> list[tuple[int, int]]:
    """Frames first .. stop - 1: all, the first one, the last one, from and to keyframes of most sources, then any."""
    rng = random.Random(seed)
    some = [(0, num_frames), (24, 48), (num_frames - 1, num_frames), (20, num_frames), (0, 1), (5, 31)]
    while len(some) < count:
        first, stop = sorted(rng.sample(range(num_frames + 1), 2))
        some.append((first, stop))
    return some[:count]


def check(source: Source, spec: WriteSpec, wanted: list[tuple[int, int]], scratch: Path) -> None:
    trim = spec.max_trim_s if spec.method == "auto" else 0
    clips = []
    with cutter_of(source, spec, scratch) as cutter:
        for number, (first, stop) in enumerate(wanted):
            span = span_of(cutter, first, stop)
            clip = cutter.cut(span, f"clip{number}")
            given_up = (clip.span.start - span.start + span.end - clip.span.end) * source.facts.time_base
            assert 0 <= given_up <= trim
            check_clip(source, clip)
            clips.append(clip)
    check_by_ffmpeg(source, clips)
    for clip in clips:
        clip.file.unlink()
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("name", QUICK)
def test_clips_are_exact(name: str, sources: Sources, tmp_path: Path) -> None:
    source = sources(name)
    count = len(source.pts)
    check(source, SPECS["auto"], [(0, count), (11, min(count, 60))], tmp_path)
    check(source, SPECS["to the frame"], [(count - 1, count), *spans(count, 7, 3)[6:]], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("method", SPECS)
@pytest.mark.parametrize("name", ALL)
def test_clips_of_all_sources_are_exact(name: str, method: str, sources: Sources, tmp_path: Path) -> None:
    source = sources(name)
    check(source, SPECS[method], spans(len(source.pts), 14, zlib.crc32(f"{name} {method}".encode())), tmp_path)
