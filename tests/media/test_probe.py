"""Facts of a video, against what it was made with."""

import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import pytest
from support.boxes import with_edit
from support.numbered import Beeps, make_numbered, vfr_times

from shardpipe.core.errors import MediaError
from shardpipe.media import probe as probing
from shardpipe.media.decode import decode
from shardpipe.media.glance import glance
from shardpipe.media.probe import probe

VIDEOS = Path(__file__).parents[1] / "assets/videos"
HEVC = {"codec": "libx265"}
VP9 = {"codec": "libvpx-vp9"}


class Counted:
    """A file that counts what is read of it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.seek, self.tell = file, file.seek, file.tell
        self.num_read = 0

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.num_read += len(data)
        return data


def by_packets(path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The facts without the sample table."""
    with monkeypatch.context() as patch:
        patch.setattr(probing, "table_times", lambda *_: None)
        return probe(path)


@pytest.mark.parametrize("fps", ["24000/1001", "25", "30000/1001", "30", "60"])
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "ts", "avi", "flv"])
def test_count_duration_and_rate(tmp_path: Path, suffix: str, fps: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rate = Fraction(fps)
    made = make_numbered(tmp_path / f"v.{suffix}", num_frames=50, fps=rate, size=(96, 64), options={"g": "20"})
    facts = probe(made.path)
    assert (facts.num_frames, facts.fps, facts.is_vfr) == (50, rate, False)
    assert facts.duration_s == pytest.approx(50 / rate, abs=0.0021)
    assert (facts.width, facts.height, facts.codec, facts.pix_fmt, facts.bit_depth) == (96, 64, "h264", "yuv420p", 8)
    assert (facts.has_audio, facts.has_alpha, facts.interlaced, facts.rotation, facts.sar) == (False,) * 3 + (0, 1)
    assert facts.bit_rate == pytest.approx(made.path.stat().st_size * 8 / facts.duration_s, rel=0.75)
    assert facts == by_packets(made.path, monkeypatch)


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mp4", HEVC), ("mkv", HEVC), ("webm", VP9), ("mp4", {"codec": "libsvtav1"})]
)
def test_other_codecs(tmp_path: Path, suffix: str, codec: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_numbered(tmp_path / f"v.{suffix}", num_frames=30, size=(128, 96), **codec)
    facts = probe(made.path)
    assert (facts.num_frames, facts.fps, facts.codec) == (
        30,
        25,
        codec["codec"].removeprefix("lib").split("-")[-1].replace("x265", "hevc").replace("svtav1", "av1"),
    )
    assert facts == by_packets(made.path, monkeypatch)


@pytest.mark.parametrize("fps", ["24000/1001", "30"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi", "flv"])
def test_a_sparing_look_finds_the_same(tmp_path: Path, suffix: str, fps: str) -> None:
    """But for the bit rate, which it estimates; also of a video that is longer than what is looked at."""
    for num in (20, 200):
        made = make_numbered(tmp_path / f"v.{suffix}", num_frames=num, fps=Fraction(fps), size=(96, 64), start=2)
        facts, sparing = probe(made.path), probe(made.path, sparing=True)
        assert replace(sparing, bit_rate=facts.bit_rate) == facts
        assert facts.bit_rate <= sparing.bit_rate  # with what the container adds


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "ts", "flv"])
def test_a_glance_tells_how_long_a_video_is(tmp_path: Path, suffix: str) -> None:
    made = make_numbered(tmp_path / f"v.{suffix}", num_frames=250, size=(320, 240), options={"crf": "10", "g": "50"})
    found = glance(made.path)
    assert found is not None
    assert found[1] == pytest.approx(10, abs=0.2)
    with made.path.open("rb") as file:
        counting = Counted(file)
        assert glance(counting) == found  # type: ignore[arg-type]
    assert counting.num_read <= made.path.stat().st_size / 10


def test_a_glance_believes_no_absurd_header(tmp_path: Path) -> None:
    made = make_numbered(tmp_path / "v.mp4", num_frames=250, size=(320, 240), options={"crf": "10"})
    data = bytearray(made.path.read_bytes())
    at = data.index(b"mvhd") + 20
    data[at : at + 4] = (1000 * 86400).to_bytes(4, "big")  # of 1000 ticks a second
    assert glance(bytes(data)) is None
    assert glance(bytes(data[:4000])) is None


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_rate(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    times = vfr_times(40)
    made = make_numbered(tmp_path / f"v.{suffix}", times_s=times, size=(96, 64))
    facts = probe(made.path)
    assert facts.is_vfr
    assert facts.num_frames == 40
    assert facts.duration_s == pytest.approx(float(times[-1] - times[0]), abs=0.15)
    assert float(facts.fps) == pytest.approx(40 / facts.duration_s, rel=0.001)
    assert facts == by_packets(made.path, monkeypatch)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_start_that_is_not_zero(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_numbered(tmp_path / f"v.{suffix}", num_frames=30, size=(96, 64), start=3)
    facts = probe(made.path)
    first = next(decode(made.path))
    assert facts.start_s == pytest.approx(float(first.time or 0))
    assert facts.duration_s == pytest.approx(1.2, abs=0.002)
    assert facts == by_packets(made.path, monkeypatch)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_and_pixel_aspect(tmp_path: Path, rotation: int) -> None:
    made = make_numbered(tmp_path / "v.mp4", num_frames=5, size=(160, 90), rotation=rotation, sar=Fraction(4, 3))
    facts = probe(made.path)
    assert (facts.rotation, facts.sar, facts.width, facts.height) == (rotation, Fraction(4, 3), 160, 90)
    assert facts.display_size == ((213, 90) if rotation == 180 else (90, 213))


def test_colour_depth_and_interlacing(tmp_path: Path) -> None:
    hdr = {"color_range": 1, "color_trc": 16, "color_primaries": 9, "colorspace": 9}
    made = make_numbered(tmp_path / "hdr.mp4", num_frames=5, size=(96, 64), pix_fmt="yuv420p10le", color=hdr, **HEVC)
    facts = probe(made.path)
    assert (facts.pix_fmt, facts.bit_depth, facts.color_transfer) == ("yuv420p10le", 10, "smpte2084")
    assert (facts.color_primaries, facts.color_space, facts.color_range) == ("bt2020", "bt2020nc", "tv")
    assert probe(make_numbered(tmp_path / "i.mp4", num_frames=5, interlaced=True).path).interlaced
    full = make_numbered(tmp_path / "full.mp4", num_frames=5, pix_fmt="yuvj420p", color={"color_range": 2})
    assert probe(full.path).color_range == "pc"


def test_alpha_and_audio(tmp_path: Path) -> None:
    made = make_numbered(tmp_path / "a.mov", num_frames=5, size=(64, 48), codec="qtrle", pix_fmt="argb")
    assert probe(made.path).has_alpha
    made = make_numbered(tmp_path / "s.mp4", num_frames=25, size=(64, 48), audio=Beeps())
    assert probe(made.path).has_audio


@pytest.mark.parametrize("size", [(2, 2), (64, 48)])
def test_one_frame(tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_numbered(tmp_path / "v.mp4", num_frames=1, size=size)
    facts = probe(made.path)
    assert (facts.num_frames, facts.is_vfr, facts.duration_s) == (1, False, pytest.approx(0.04))
    assert facts == by_packets(made.path, monkeypatch)


def test_a_picture_of_one_pixel(tmp_path: Path) -> None:
    made = make_numbered(tmp_path / "v.mkv", num_frames=3, size=(1, 1), codec="ffv1", pix_fmt="yuv444p")
    facts = probe(made.path)
    assert (facts.width, facts.height, facts.num_frames) == (1, 1, 3)


def test_frames_that_an_edit_list_hides_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_numbered(tmp_path / "v.mp4", num_frames=50, size=(96, 64), options={"g": "20"})
    path = tmp_path / "edited.mp4"
    path.write_bytes(with_edit(made.path.read_bytes(), start=10 * 512 + 1024, length=800))  # 1000 movie ticks a second
    shown = list(decode(path))
    facts = probe(path)
    assert facts.num_frames == len(shown) == 20
    assert facts.start_s == pytest.approx(float(shown[0].time or 0))
    assert facts.duration_s == pytest.approx(0.8, abs=0.001)
    assert facts == by_packets(path, monkeypatch)


def test_fragmented_and_cut_off_files_are_counted(tmp_path: Path) -> None:
    fragments = make_numbered(
        tmp_path / "f.mp4",
        num_frames=50,
        size=(96, 64),
        options={"g": "10"},
        container_options={"movflags": "frag_keyframe+empty_moov"},
    )
    assert probe(fragments.path).num_frames == 50
    whole = make_numbered(
        tmp_path / "w.mp4", num_frames=50, options={"g": "10"}, container_options={"movflags": "faststart"}
    )
    cut_off = whole.path.read_bytes()[: whole.path.stat().st_size * 2 // 3]
    assert 10 < probe(cut_off).num_frames < 45


def test_no_frames_is_a_media_error(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "v.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=25, width=64, height=48, pix_fmt="yuv420p")
        stream.encode(None)
        out.start_encoding()
    with pytest.raises(MediaError):
        probe(tmp_path / "v.mp4")
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        sound = out.add_stream("aac", rate=44100)
        out.mux(sound.encode(None))
    with pytest.raises(MediaError, match=r"a\.mp4"):
        probe(tmp_path / "a.mp4")


def test_a_long_file_is_probed_without_reading_it(tmp_path: Path) -> None:
    source = list(av.open(str(VIDEOS / "carphone_pristine.mp4")).demux(video=0))
    with av.open(str(VIDEOS / "carphone_pristine.mp4")) as given, av.open(str(tmp_path / "long.mp4"), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        packets = [(bytes(p), p.pts, p.dts, p.duration, p.is_keyframe) for p in source if p.size]
        length = sum(p[3] for p in packets)
        for turn in range(300):
            for data, pts, dts, duration, key in packets:
                packet = av.Packet(data)
                packet.stream, packet.pts, packet.dts = stream, pts + turn * length, dts + turn * length
                packet.duration, packet.is_keyframe, packet.time_base = duration, key, Fraction(1, 30000)
                out.mux(packet)
    began = time.process_time()
    with (tmp_path / "long.mp4").open("rb") as file:
        counting = Counted(file)
        facts = probe(counting)  # type: ignore[arg-type]
    assert time.process_time() - began < 1
    assert (facts.num_frames, facts.fps, facts.is_vfr) == (36000, Fraction(30000, 1001), False)
    assert facts.duration_s == pytest.approx(1201.2)
    assert counting.num_read < (tmp_path / "long.mp4").stat().st_size / 10


def test_timestamps_that_no_video_has(tmp_path: Path) -> None:
    """One wrong time must not make thousands of units of a video; a slow one is a video like any other."""
    times = [Fraction(i, 25) for i in range(24)]
    wrong = make_numbered(tmp_path / "wrong.mkv", num_frames=25, times_s=[*times, Fraction(40_000_000)])
    with pytest.raises(MediaError, match="its 25 frames would last 11111 hours"):
        probe(wrong.path)
    slow = make_numbered(tmp_path / "slow.mkv", num_frames=3, times_s=[Fraction(0), Fraction(9000), Fraction(99_000)])
    assert 0 < probe(slow.path).fps < Fraction(1, 1001)
