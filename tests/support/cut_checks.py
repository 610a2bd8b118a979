"""What a clip must be: exactly its span's frames in every decoder, with the times they had."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from support.ffmpeg_cli import FFMPEG, numbers_ffmpeg
from support.numbered import luma_of, number_of, numbers_cv2, numbers_decord, numbers_pyav

from shardpipe.core.cutting import CutClip, Span, WriteSpec
from shardpipe.core.video import VideoFacts
from shardpipe.media.cutter import Cutter
from shardpipe.media.decode import decode
from shardpipe.media.mp4box import video_track
from shardpipe.media.probe import probe

NO_CV2 = ("av1",)  # OpenCV's FFmpeg has only hardware decoders for it


@dataclass(frozen=True)
class Source:
    """A source, its frames' numbers and times as a sequential decode gives them."""

    path: Path
    facts: VideoFacts
    numbers: tuple[int, ...]
    pts: tuple[int, ...]
    hashes: tuple[int, ...]

    def decord_can(self, codec: str) -> bool:
        """Whether decord decodes such clips: it fails on some HEVC and VP9, then on the source too."""
        if codec != self.facts.codec or codec in ("h264", "mpeg4"):
            return codec not in ("hevc", "vp9")
        try:
            return numbers_decord(self.path, turn=self.facts.rotation) == list(self.numbers)
        except Exception:  # decord raises a class of its own, which it does not export
            return False


def read_source(path: Path) -> Source:
    numbers, pts, hashes = [], [], []
    for frame in decode(path):
        numbers.append(number_of(frame))
        pts.append(frame.pts)
        hashes.append(picture_hash(frame))
    return Source(path, probe(path), tuple(numbers), tuple(pts), tuple(hashes))


def picture_hash(frame: av.VideoFrame) -> int:
    return hash(tuple(bytes(luma_of(frame)[row]) for row in range(0, frame.height, 7)))


def picture_hashes(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [picture_hash(frame) for frame in container.decode(video=0)]


@contextmanager
def cutter_of(source: Source, spec: WriteSpec, scratch: Path) -> Iterator[Cutter]:
    with Cutter(source.path, source.facts, spec, scratch) as cutter:
        assert cutter.frame_pts.tolist() == list(source.pts)
        yield cutter


def span_of(cutter: Cutter, first: int, stop: int) -> Span:
    """The span of frames first .. stop - 1 of a source."""
    pts = cutter.frame_pts
    return Span(int(pts[first]), int(pts[stop]) if stop < len(pts) else cutter.index.end)


def frames_of(source: Source, clip: CutClip) -> tuple[int, int]:
    low, high = np.searchsorted(source.pts, (clip.span.start, clip.span.end))
    return int(low), int(high)


def check_clip(source: Source, clip: CutClip, *, decoders: Sequence[str] = ("cv2", "decord")) -> None:
    """Every decoder shows just the frames of the clip's span; times are those of the source from 0 on."""
    low, high = frames_of(source, clip)
    want = list(source.numbers[low:high])
    turn = source.facts.rotation
    what = (source.path.name, clip.method, low, high)
    assert clip.num_frames == len(want) > 0, what
    assert numbers_pyav(clip.file, turn=turn - clip.rotation) == want, what
    with av.open(str(clip.file)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        shown = sorted(packet.pts * packet.time_base for packet in packets if not packet.is_discard)
        lasts = stream.duration * stream.time_base
    track = video_track(clip.file)
    length = (clip.span.end - clip.span.start) * source.facts.time_base
    assert clip.method == "editlist" or track.num_read == len(packets), what
    assert (track.duration, lasts) == (length * track.timescale, length), what
    times = [(pts - clip.span.start) * source.facts.time_base for pts in source.pts[low:high]]
    assert shown == times, what
    slow = source.facts.color_transfer == "smpte2084"  # OpenCV takes 0.1 s a frame to bring it to bgr
    if "cv2" in decoders and clip.codec not in NO_CV2 and not slow:
        assert numbers_cv2(clip.file, turn=turn) == want, what
    if "decord" in decoders and source.decord_can(clip.codec) and clip.method != "editlist":
        assert numbers_decord(clip.file, turn=turn) == want, what
    average = pytest.approx(clip.num_frames / float(length))
    assert clip.fps == (average if source.facts.is_vfr else float(source.facts.fps))
    assert clip.rotation in (0, turn)


def check_by_ffmpeg(source: Source, clips: Sequence[CutClip]) -> None:
    """The ffmpeg program, where it is installed, shows just the frames of the clips' spans."""
    if FFMPEG:
        found = numbers_ffmpeg([clip.file for clip in clips], turn=source.facts.rotation)
        for clip, numbers in zip(clips, found, strict=True):
            low, high = frames_of(source, clip)
            assert numbers == list(source.numbers[low:high]), (source.path.name, clip.method, low, high)
