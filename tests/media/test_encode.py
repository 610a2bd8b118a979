"""Encoded clips: every codec, upright and square, even sizes, colour kept, at the wanted size and rate."""

import random
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import av
import numpy as np
import pytest
from pydantic import ValidationError
from support.cut_checks import check_clip, cutter_of, read_source, span_of
from support.cut_sources import make_source, x264
from support.ffmpeg_cli import FFMPEG, ffmpeg_pictures
from support.numbered import Look, luma_of, make_numbered, numbers_pyav, read_number

from shardpipe.core.cutting import WriteSpec
from shardpipe.core.errors import ConfigError
from shardpipe.media.encode import check_encoder

FAST = WriteSpec(method="encode", preset="ultrafast")


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1"])
def test_every_codec_is_exact_and_the_same_each_time(codec: str, tmp_path: Path) -> None:
    source = read_source(make_source("h264_vfr", tmp_path).path)
    with cutter_of(source, FAST.model_copy(update={"codec": codec, "crf": 10, "preset": "faster"}), tmp_path) as cutter:
        clips = [cutter.cut(span_of(cutter, 11, 40), name) for name in "ab"]
    assert (clips[0].codec, clips[0].num_encoded) == (codec, 29)
    check_clip(source, clips[0])
    assert clips[0].file.read_bytes() == clips[1].file.read_bytes()


@pytest.mark.parametrize(
    ("name", "size", "pix_fmt"),
    [
        ("h264_turned", (108, 192), "yuv420p"),
        ("h264_upside_down", (192, 108), "yuv420p"),
        ("h264_wide", (256, 108), "yuv420p"),
        ("h264_444", (192, 108), "yuv420p"),
        ("vp9_odd", (192, 108), "yuv420p"),
        ("h264_deep", (192, 108), "yuv420p10le"),
        ("h264_full", (192, 108), "yuvj420p"),
        ("prores_alpha", (192, 108), "yuv420p10le"),
        ("h264_interlaced", (192, 112), "yuv420p"),
    ],
)
def test_pictures_come_out_upright_and_even(name: str, size: tuple[int, int], pix_fmt: str, tmp_path: Path) -> None:
    source = read_source(make_source(name, tmp_path).path)
    with cutter_of(source, FAST, tmp_path) as cutter:
        clip = cutter.cut(span_of(cutter, 10, 20), "a")
    assert ((clip.width, clip.height), clip.pix_fmt, clip.rotation, clip.sar, clip.interlaced) == (
        size,
        pix_fmt,
        0,
        1,
        False,
    )
    check_clip(source, clip)
    with av.open(str(clip.file)) as container:
        frame = next(container.decode(video=0))
    assert ((frame.width, frame.height), frame.interlaced_frame, frame.rotation) == (size, False, 0)
    assert frame.format.name == pix_fmt
    assert frame.color_range == (2 if name == "h264_full" else frame.color_range)


@pytest.mark.parametrize(
    ("matrix", "turn"), [((-1, 0, 0, 1), 0), ((0, -1, -1, 0), 90), ((1, 0, 0, -1), 180), ((0, 1, 1, 0), 270)]
)
def test_mirrored_pictures_are_baked_in(matrix: tuple[int, ...], turn: int, tmp_path: Path) -> None:
    """Readers turn pictures, but only players mirror them: such a video is never copied."""
    made, path = make_source("h264", tmp_path), tmp_path / "mirrored.mp4"
    with av.open(str(made.path)) as inp, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(inp.streams.video[0])
        a, b, c, d = (number << 16 for number in matrix)
        stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        for packet in inp.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    source = read_source(path)
    assert (source.facts.rotation, source.facts.mirrored) == (turn, True)
    if FFMPEG:
        shown = next(ffmpeg_pictures([path]))
        assert [read_number(np.fliplr(np.rot90(luma, turn // 90))) for luma in shown] == list(range(72))
    (scratch := tmp_path / "clips").mkdir()
    for spec in (WriteSpec(), FAST, WriteSpec(method="editlist")):
        with cutter_of(source, spec, scratch) as cutter:
            clip = cutter.cut(span_of(cutter, 24, 48), "a")
        assert (clip.method, clip.rotation) == ("encode", 0)
        assert (clip.width, clip.height) == source.facts.display_size
        with av.open(str(clip.file)) as container:
            frames = list(container.decode(video=0))
        assert {frame.rotation for frame in frames} == {0}
        unturned = [np.fliplr(np.rot90(luma_of(frame), turn // 90)) for frame in frames]
        assert [read_number(luma) for luma in unturned] == list(range(24, 48))


def test_hdr_keeps_its_bits_and_tags(tmp_path: Path) -> None:
    source = read_source(make_source("hevc_hdr", tmp_path).path)
    with cutter_of(source, FAST, tmp_path) as cutter:
        clip = cutter.cut(span_of(cutter, 10, 20), "a")
    assert (clip.bit_depth, clip.color_transfer) == (10, "smpte2084")
    with av.open(str(clip.file)) as container:
        context = container.streams.video[0].codec_context
        assert (context.color_trc, context.color_primaries, context.pix_fmt) == (16, 9, "yuv420p10le")


def test_alpha_is_put_on_black(tmp_path: Path) -> None:
    source = read_source(make_source("animation_alpha", tmp_path).path)
    with cutter_of(source, FAST, tmp_path) as cutter:
        clip = cutter.cut(span_of(cutter, 0, 5), "a")
    with av.open(str(clip.file)) as container:
        rgb = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert rgb[70:, :8].mean() < 12  # clear there, opaque on the right
    assert rgb[70:, -20:].mean() > 50


def test_smaller_and_slower(tmp_path: Path) -> None:
    source = read_source(make_source("h264", tmp_path).path)
    with cutter_of(source, FAST.model_copy(update={"short_side": 64, "fps": 10.0}), tmp_path) as cutter:
        clip = cutter.cut(span_of(cutter, 0, 50), "a")
    assert (clip.width, clip.height, clip.num_frames, clip.fps) == (114, 64, 20, pytest.approx(10))
    assert numbers_pyav(clip.file) == [int(np.floor(n * 2.5 + 1e-9)) for n in range(20)]
    with cutter_of(source, FAST.model_copy(update={"short_side": 640}), tmp_path) as cutter:
        assert cutter.cut(span_of(cutter, 0, 5), "b").height == 108


def test_keyframes_come_as_often_as_asked(tmp_path: Path) -> None:
    source = read_source(make_source("h264_one_gop", tmp_path).path)
    with cutter_of(source, FAST.model_copy(update={"gop_s": 0.4}), tmp_path) as cutter:
        clip = cutter.cut(span_of(cutter, 3, 63), "a")
    with av.open(str(clip.file)) as container:
        keys = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
    assert sum(keys) >= 6


def test_an_encoder_that_does_not_run_is_named() -> None:
    check_encoder(FAST)
    with pytest.raises(ConfigError, match="h264_nvenc cannot encode on this machine"):
        check_encoder(WriteSpec(encoder="nvenc"))


@pytest.mark.parametrize(
    "fields",
    [{"short_side": 64}, {"fps": 10}, {"crf": 60}, {"preset": "quick"}, {"encoder": "nvenc", "codec": "vp9"}],
)
def test_settings_that_would_do_nothing_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        WriteSpec(**fields)


def test_interlaced_frames_after_progressive_ones_are_deinterlaced(tmp_path: Path) -> None:
    plain, interlaced = (
        make_numbered(tmp_path / name, num_frames=30, size=(192, 112), options=x264(extra), **more)
        for name, extra, more in (
            ("a.ts", "sps-id=0", {}),
            ("b.ts", "sps-id=1:tff=1", {"interlaced": True, "start": Fraction(32, 25), "look": Look(drift=3)}),
        )
    )
    both = tmp_path / "both.ts"
    both.write_bytes(plain.path.read_bytes() + interlaced.path.read_bytes())
    source = read_source(both)
    for spec in (FAST, WriteSpec(max_trim_s=0)):
        with cutter_of(source, spec, tmp_path) as cutter:
            clip = cutter.cut(span_of(cutter, 20, 50), "a")
        check_clip(source, clip)
        with av.open(str(clip.file)) as container:
            assert not any(frame.interlaced_frame for frame in container.decode(video=0))


def test_no_frame_is_lost_where_keyframes_and_long_pauses_meet_at_the_end(tmp_path: Path) -> None:
    """FFmpeg's demuxer ends an edit list too early there, unless frames are stored in the order shown."""
    rng = random.Random(4)
    steps = [Fraction(rng.choice([1, 8, 16, 33, 40, 100, 2500]), 1000) for _ in range(71)]
    source = read_source(make_numbered(tmp_path / "a.mp4", times_s=[0, *accumulate(steps)], size=(192, 108)).path)
    with cutter_of(source, WriteSpec(method="encode"), tmp_path) as cutter:
        for first, stop in ((37, 53), (0, 72), (20, 51)):
            check_clip(source, cutter.cut(span_of(cutter, first, stop), "a"))
