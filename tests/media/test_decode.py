"""Sequential decode: every frame, in order, at its time; seeks; damage; small frames for detectors."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from support.boxes import with_edit
from support.numbered import Beeps, make_numbered, number_of, numbered_frame, vfr_times

from shardpipe.core.errors import MediaError
from shardpipe.media.decode import SmallBgr, decode
from shardpipe.media.source import open_media, video_stream
from shardpipe.media.timeline import counts_frames, timeline, video_packets

VIDEOS = Path(__file__).parents[1] / "assets/videos"
OPEN_GOP = {"g": "12", "bf": "3", "x264-params": "open-gop=1:b-pyramid=normal:scenecut=0"}
CLOSED = {"g": "12", "bf": "2"}
KINDS: dict[str, dict[str, Any]] = {
    "closed.mp4": {"options": CLOSED},
    "open.mp4": {"options": OPEN_GOP},
    "open.mkv": {"options": OPEN_GOP},
    "open.ts": {"options": OPEN_GOP},
    "open.avi": {"options": OPEN_GOP},
    "closed.flv": {"options": CLOSED},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "12", "bf": "2", "b": "2M"}},
    "plain.avi": {"codec": "mpeg4", "options": {"g": "12", "b": "2M"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"g": "12", "bf": "2", "b": "4M"}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=12:open-gop=1:pools=none"}},
    "hevc.ts": {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=12:open-gop=1:pools=none"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "12"}},
    "av1.mkv": {"codec": "libsvtav1", "options": {"g": "12"}},
    "vfr.mp4": {"times_s": vfr_times(50), "options": CLOSED},
    "vfr.mkv": {"times_s": vfr_times(50, seed=1), "options": OPEN_GOP},
    "late.mp4": {"start": 3, "options": CLOSED},
}


def seconds(path: Path, **window: float) -> list[tuple[int, float]]:
    """(number, time) of the decoded frames."""
    return [(number_of(frame), float(frame.time or 0)) for frame in decode(path, **window)]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_frame_once_in_order_and_from_any_start(tmp_path: Path, kind: str) -> None:
    made = make_numbered(tmp_path / kind, **{"num_frames": 50, "size": (256, 144)} | KINDS[kind])
    whole = seconds(made.path)
    assert [number for number, _ in whole] == list(range(50))
    shift = whole[0][1] - float(made.times_s[0])  # some containers delay the start
    assert [at for _, at in whole] == pytest.approx([float(t) + shift for t in made.times_s], abs=0.0011)
    with open_media(made.path) as container:
        stream = video_stream(container)
        line = timeline(video_packets(container, stream), by_dts=counts_frames(container))
        assert (line.pts * float(stream.time_base or 0)).tolist() == pytest.approx([at for _, at in whole])
    for first in (0, 1, 11, 12, 13, 23, 25, 47, 49):
        last = min(first + 4, 49)
        assert seconds(made.path, start_s=whole[first][1], end_s=whole[last][1]) == whole[first:last]
    assert seconds(made.path, start_s=whole[30][1] + 0.001) == whole[31:]
    assert seconds(made.path, start_s=-5, end_s=whole[2][1]) == whole[:2]
    assert seconds(made.path, start_s=whole[-1][1] + 9) == []


def test_pictures_after_a_seek_are_those_of_a_whole_decode(tmp_path: Path) -> None:
    for kind in ("open.mp4", "open.ts", "hevc.mp4"):
        made = make_numbered(tmp_path / kind, **{"num_frames": 40, "size": (256, 144)} | KINDS[kind])
        whole = {frame.pts: bytes(frame.planes[0]) for frame in decode(made.path)}
        for start_s in (0.3, 0.5, 0.96, 1.2):
            for frame in decode(made.path, start_s=start_s):
                assert bytes(frame.planes[0]) == whole[frame.pts]


def test_an_edit_list_is_obeyed(tmp_path: Path) -> None:
    made = make_numbered(tmp_path / "v.mp4", num_frames=50, options=CLOSED)
    path = tmp_path / "edited.mp4"
    path.write_bytes(with_edit(made.path.read_bytes(), start=17 * 512 + 1024, length=800))
    assert [number for number, _ in seconds(path)] == list(range(17, 37))
    assert [number for number, _ in seconds(path, start_s=0.4)] == list(range(27, 37))


def test_a_stream_that_starts_between_keyframes(tmp_path: Path) -> None:
    made = make_numbered(tmp_path / "v.ts", num_frames=50, options=CLOSED)
    data = made.path.read_bytes()
    cut_off = data[len(data) // 5 // 188 * 188 :]
    numbers = [number_of(frame) for frame in decode(cut_off)]
    assert numbers == list(range(numbers[0], 50))
    assert numbers[0] in (12, 24)


def test_size_changes_are_given_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "v.ts"
    for name, size in (("a.ts", (160, 96)), ("b.ts", (320, 192))):
        make_numbered(tmp_path / name, num_frames=10, size=size, options={"bf": "0"}, start=0 if name == "a.ts" else 1)
    path.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    shown = list(decode(path))
    assert [frame.width for frame in shown] == [160] * 10 + [320] * 10
    small = SmallBgr(64, 36)
    assert {small(frame).shape for frame in shown} == {(36, 64, 3)}


def test_a_restarted_clock_is_named(tmp_path: Path) -> None:
    made = make_numbered(tmp_path / "a.ts", num_frames=60, options={"bf": "0"})
    twice = made.path.read_bytes() * 2
    numbers: list[int] = []
    with pytest.raises(MediaError, match=r"timestamps restart after \d+\.\d+ s"):
        numbers.extend(number_of(frame) for frame in decode(twice))
    assert numbers[:50] == list(range(50))


def test_frames_before_damage_are_given_and_the_time_is_named(tmp_path: Path) -> None:
    made = make_numbered(tmp_path / "v.mkv", num_frames=40, codec="libvpx-vp9", options={"g": "10"})
    data = bytearray(made.path.read_bytes())
    with open_media(made.path) as container:
        packets = list(video_packets(container, video_stream(container)))
    at = data.index(bytes(packets[20]))
    data[at : at + 1] = b"\x00"  # no VP9 frame starts so
    numbers: list[int] = []
    with pytest.raises(MediaError, match=r"the frame at 0\.800 s cannot be decoded"):
        numbers.extend(number_of(frame) for frame in decode(bytes(data)))
    assert numbers == list(range(20))


def test_made_up_pictures_are_flagged(tmp_path: Path) -> None:
    made = make_numbered(tmp_path / "v.mp4", num_frames=40, options={"g": "10", "bf": "0"})
    data = bytearray(made.path.read_bytes())
    with open_media(made.path) as container:
        packets = list(video_packets(container, video_stream(container)))
    at = data.index(bytes(packets[10])) + packets[10].size // 2
    data[at : at + 200] = bytes(200)
    flagged = [i for i, frame in enumerate(decode(bytes(data))) if frame.is_corrupt]
    assert 10 in flagged
    assert not any(i < 10 for i in flagged)


def test_hidden_vp8_frames_have_no_time(tmp_path: Path) -> None:
    make_numbered(tmp_path / "v.webm", num_frames=20, codec="libvpx", options={"deadline": "realtime", "cpu-used": "8"})
    data = bytearray((tmp_path / "v.webm").read_bytes())
    with open_media(bytes(data)) as container:
        packets = list(video_packets(container, video_stream(container)))
    data[data.index(bytes(packets[7]))] &= 0xEF
    numbers = [number_of(frame) for frame in decode(bytes(data))]
    assert numbers == [*range(7), *range(8, 20)]
    with open_media(bytes(data)) as container:
        line = timeline(video_packets(container, video_stream(container)), by_dts=False)
    assert len(line.pts) == 19


@pytest.mark.parametrize("size", [(64, 36), (48, 27)])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuvj420p", "yuv420p10le", "yuv444p", "rgb24", "gray", "yuva420p"])
def test_small_frames_show_the_picture(pix_fmt: str, size: tuple[int, int]) -> None:
    frame = numbered_frame(77, (320, 180), pix_fmt=pix_fmt)
    whole = numbered_frame(77, (320, 180)).to_ndarray(format="bgr24")
    near = cv2.resize(whole, size, interpolation=cv2.INTER_AREA).astype(int)
    if pix_fmt == "gray":
        near = np.repeat(near.mean(axis=2, keepdims=True), 3, axis=2)
    small = SmallBgr(*size)(frame)
    assert (small.dtype, small.shape) == (np.uint8, (size[1], size[0], 3))
    assert np.abs(small - near).mean() < (12 if pix_fmt == "gray" else 6)


def test_any_colour_space_can_be_shrunk() -> None:
    frame = numbered_frame(5, (64, 48))
    for space in range(20):
        frame.colorspace = space
        assert SmallBgr(32, 24)(frame).shape == (24, 32, 3)
    assert SmallBgr(32, 24)(av.VideoFrame(1, 1, "yuv420p")).shape == (24, 32, 3)


HASHES = """
import ctypes, glob, hashlib, json, os, sys
import av
(path,) = glob.glob(os.path.join(os.path.dirname(os.path.dirname(av.__file__)), "av.libs", "libavutil-*"))
avutil = ctypes.CDLL(path)
if sys.argv[1] != "all":
    avutil.av_force_cpu_flags(int(sys.argv[1], 0))
from itertools import islice
from shardpipe.core.frames import FrameRequest, Rate
from shardpipe.media.decode import SmallBgr, decode
from shardpipe.media.sample import sample
found = {}
even, odd = SmallBgr(256, 144), SmallBgr(48, 27)
for frame in islice(decode(sys.argv[2]), 4):
    for name, small in (("even", even), ("odd", odd)):
        found[name] = hashlib.sha256(found.get(name, "").encode() + small(frame).tobytes()).hexdigest()
    frame.reformat(format="yuv420p10le")
for pixels in ("gray", "rgb"):
    (made,) = sample(sys.argv[2], [FrameRequest(Rate(2), long_side=200, pixels=pixels)])
    found[pixels] = hashlib.sha256(made.data.tobytes()).hexdigest()
print(json.dumps([avutil.av_get_cpu_flags(), found]))
"""


@pytest.mark.skipif(
    not list(Path(av.__file__).parents[1].glob("av.libs/libavutil-*")), reason="PyAV's own FFmpeg is elsewhere"
)
def test_the_same_bytes_on_any_cpu() -> None:
    """FFmpeg without SIMD, with SSE2 and with all; OpenCV with and without its dispatched paths."""
    answers = []
    for flags, disabled in (("all", ""), ("0", "AVX512_SKX,AVX2,FP16,AVX,SSE4_2,SSE4_1"), ("0x1F", "AVX512_SKX")):
        done = subprocess.run(
            [sys.executable, "-c", HASHES, flags, str(VIDEOS / "bikes.mp4")],
            env={**os.environ, "OPENCV_CPU_DISABLE": disabled},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        answers.append(json.loads(done.stdout))
    assert answers[1][0] == 0
    assert len({answer[0] for answer in answers}) >= 2
    assert answers[0][1] == answers[1][1] == answers[2][1]


def test_times_before_zero(tmp_path: Path) -> None:
    made = make_numbered(tmp_path / "v.mkv", num_frames=20, start=-Fraction(1, 5))
    whole = seconds(made.path)
    assert [number for number, _ in whole] == list(range(20))


def test_a_stream_that_appears_on_the_way(tmp_path: Path) -> None:
    """PyAV's demux ends with an IndexError then; no packet of ours is lost by it."""
    made = make_numbered(tmp_path / "a.ts", num_frames=60, options={"bf": "0"})
    other = make_numbered(tmp_path / "b.ts", num_frames=60, options={"bf": "0"}, start=Fraction(60, 25), audio=Beeps())
    both = made.path.read_bytes() + other.path.read_bytes()
    assert [number_of(frame) for frame in decode(both)] == [*range(60), *range(60)]
