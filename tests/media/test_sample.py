"""The union decode of a clip: the right frames, as displayed, for the least work."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from support.boxes import with_edit
from support.decoded import count_decoded
from support.numbered import make_numbered, read_number, vfr_times

from shardpipe.core.errors import MediaError
from shardpipe.core.frames import Fractions, FrameRequest, Numbers, Pairs, Rate, Uniform
from shardpipe.media import packetstore
from shardpipe.media.decode import decode
from shardpipe.media.pixels import PixelReader
from shardpipe.media.sample import sample
from shardpipe.media.source import open_media, video_stream
from shardpipe.media.timeline import video_packets

VIDEOS = Path(__file__).parents[1] / "assets/videos"
ALL = FrameRequest(Rate(1000), pixels="gray")


def numbers(frames: Any, *, turn: int = 0) -> list[int]:
    return [read_number(picture if picture.ndim == 2 else picture[..., 1], turn=turn) for picture in frames.data]


KINDS: dict[str, dict[str, Any]] = {
    "a.mp4": {"options": {"g": "12", "bf": "3"}},
    "open.mp4": {"options": {"g": "12", "bf": "3", "x264-params": "open-gop=1:b-pyramid=normal:scenecut=0"}},
    "b.mkv": {"options": {"g": "12", "bf": "3"}},
    "b.ts": {"options": {"g": "12", "bf": "3"}},
    "b.avi": {"options": {"g": "12", "bf": "3"}},
    "refresh.mp4": {"options": {"g": "12", "bf": "0", "intra-refresh": "1"}},
    "hevc.mp4": {"codec": "libx265"},
    "vp9.mp4": {"codec": "libvpx-vp9", "options": {"g": "12"}},
    "av1.mp4": {"codec": "libsvtav1", "options": {"g": "12"}},
    "vfr.mp4": {"times_s": vfr_times(50), "options": {"g": "12"}},
    "interlaced.mp4": {"interlaced": True, "options": {"g": "12"}},
    "late.mp4": {"start": 2, "options": {"g": "12"}},
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_frames_on_screen_at_the_wanted_times(tmp_path: Path, kind: str) -> None:
    made = make_numbered(tmp_path / kind, **{"num_frames": 50, "size": (256, 144)} | KINDS[kind])
    times = np.array([float(t - made.times_s[0]) for t in made.times_s])
    duration = times[-1] + 0.04
    requests = [
        ALL,
        FrameRequest(Uniform(3), long_side=128),
        FrameRequest(Fractions((0.0, 0.37, 1.0)), short_side=100, pixels="gray"),
        FrameRequest(Rate(4)),
        FrameRequest(Numbers((0, 10, 49, 50))),
        FrameRequest(Pairs(1, gap_s=0.08, max_pairs=8)),
    ]
    made_sets = sample(made.path.read_bytes(), requests)
    assert numbers(made_sets[0]) == list(range(50))
    assert made_sets[0].times_s == pytest.approx(times, abs=0.0011)
    assert numbers(made_sets[4]) == [0, 10, 49]
    if not KINDS[kind].get("times_s"):
        assert numbers(made_sets[5]) == [11, 13, 36, 38]
        wanted = (np.arange(3) + 0.5) * duration / 3
        assert numbers(made_sets[1]) == [int(np.searchsorted(times, t, side="right")) - 1 for t in wanted]
        assert numbers(made_sets[2]) == [0, 18, 49]
        assert numbers(made_sets[3]) == [0, 6, 12, 18, 25, 31, 37, 43]
    for request, one in zip(requests, made_sets, strict=True):
        assert numbers(one) == [int(np.argmin(np.abs(times - t))) for t in one.times_s]
        alone = sample(made.path, [request])[0]
        assert np.array_equal(alone.data, one.data)  # no request changes another's
        assert np.array_equal(alone.times_s, one.times_s)


@pytest.mark.parametrize("pixels", ["gray", "rgb"])
def test_pictures_are_those_of_a_plain_decode(pixels: Any) -> None:
    whole = {round(float(f.time or 0), 6): f for f in decode(VIDEOS / "bikes.mp4")}
    (made,) = sample(VIDEOS / "bikes.mp4", [FrameRequest(Rate(3), long_side=256, pixels=pixels)])
    assert made.data.shape[:3] == (30, 109, 256)
    reader = PixelReader(256, 109, pixels, turn=0)
    for picture, at in zip(made.data, made.times_s, strict=True):
        plain = np.empty_like(picture)
        reader.read(whole[round(float(at), 6)], plain)
        assert np.array_equal(picture, plain)


def test_sparing_decodes_less_and_the_whole_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: Any) -> Any:
        raise AssertionError("decoded everything")

    monkeypatch.setattr(packetstore.PacketStore, "decoded_whole", never)
    seen = count_decoded(monkeypatch)
    sample(VIDEOS / "bikes.mp4", [FrameRequest(Uniform(4))])
    assert len(seen) < 125
    seen.clear()
    sample(VIDEOS / "bikes.mp4", [FrameRequest(Uniform(2), tolerance_s=2.0)])
    assert len(seen) == 2


def test_keyframes_only_where_tolerated(tmp_path: Path) -> None:
    made = make_numbered(tmp_path / "v.mp4", num_frames=100, options={"g": "25", "bf": "2"})
    loose = FrameRequest(Uniform(4), pixels="gray", tolerance_s=0.6)
    (frames,) = sample(made.path, [loose])
    assert numbers(frames) == [0, 25, 50, 75]
    assert frames.times_s == pytest.approx([0, 1, 2, 3])
    assert numbers(sample(made.path, [FrameRequest(Uniform(4), pixels="gray")])[0]) == [12, 37, 62, 87]
    mixed = sample(made.path, [loose, FrameRequest(Uniform(1), pixels="gray")])
    assert [numbers(one) for one in mixed] == [[12, 37, 62, 87], [50]]


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_as_displayed(tmp_path: Path, rotation: int) -> None:
    made = make_numbered(tmp_path / "v.mp4", num_frames=4, size=(240, 180), rotation=rotation, sar=Fraction(4, 3))
    for pixels in ("gray", "rgb"):
        full, small = sample(
            made.path, [FrameRequest(Rate(25), pixels=pixels), FrameRequest(Rate(25), long_side=160, pixels=pixels)]
        )
        assert full.data.shape[1:3] == ((180, 320) if rotation in (0, 180) else (320, 180))
        assert small.data.shape[1:3] == ((90, 160) if rotation in (0, 180) else (160, 90))
        assert numbers(full, turn=rotation) == numbers(small, turn=rotation) == [0, 1, 2, 3]


def flat(tmp_path: Path, yuv: tuple[int, int, int], **kwargs: Any) -> Path:
    """A lossless video of one colour."""
    pix_fmt = kwargs.pop("pix_fmt", "yuv444p")
    path = tmp_path / "flat.mkv"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("ffv1", rate=25, width=32, height=32, pix_fmt=pix_fmt)
        for name, value in kwargs.items():
            setattr(stream.codec_context, name, value)
        frame = av.VideoFrame(32, 32, pix_fmt)
        for plane, value in zip(frame.planes, yuv, strict=False):
            deep = frame.format.components[0].bits > 8
            plane.update(np.full(plane.buffer_size // (1 + deep), value, np.uint16 if deep else np.uint8).tobytes())
        if len(frame.planes) == 4:
            frame.planes[3].update(bytes(frame.planes[3].buffer_size))  # wholly transparent
        for name, value in kwargs.items():
            setattr(frame, {"color_trc": "color_trc"}.get(name, name), value)
        frame.pts = 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def colour(path: Path) -> tuple[list[int], int]:
    rgb, gray = sample(
        path, [FrameRequest(Uniform(1), long_side=16), FrameRequest(Uniform(1), long_side=16, pixels="gray")]
    )
    return rgb.data[0, 8, 8].tolist(), int(gray.data[0, 8, 8])


def test_full_range_whatever_the_source_has(tmp_path: Path) -> None:
    for luma, full in ((16, 0), (126, 128), (235, 255)):
        assert colour(flat(tmp_path, (luma, 128, 128))) == ([full] * 3, full)
        assert colour(flat(tmp_path, (luma, 128, 128), color_range=2)) == ([luma] * 3, luma)
    assert colour(flat(tmp_path, (64 + 440, 512, 512), pix_fmt="yuv444p10le")) == ([128] * 3, 128)
    assert colour(flat(tmp_path, (126, 128, 128), pix_fmt="yuva444p")) == ([128] * 3, 128)  # alpha is ignored


@pytest.mark.parametrize(
    ("space", "red"), [(1, (63, 102, 240)), (6, (81, 90, 240)), (5, (81, 90, 240)), (2, (81, 90, 240))]
)
def test_matrix_as_flagged(tmp_path: Path, space: int, red: tuple[int, int, int]) -> None:
    """Red's YCbCr in BT.709 and BT.601; what is not flagged is BT.601, as in FFmpeg."""
    rgb, gray = colour(flat(tmp_path, red, colorspace=space))
    assert rgb == pytest.approx([255, 0, 0], abs=2)
    assert gray == round((red[0] - 16) * 255 / 219)


def test_hdr_is_tone_mapped(tmp_path: Path) -> None:
    hdr = {"pix_fmt": "yuv444p10le", "colorspace": 9, "color_primaries": 9}
    shades = [colour(flat(tmp_path, (y, 512, 512), color_trc=16, **hdr)) for y in (64, 400, 573, 723, 940)]
    assert shades[0] == ([0, 0, 0], 0)
    assert shades[4] == ([255, 255, 255], 255)
    grays = [gray for _, gray in shades]
    assert grays == sorted(grays)
    assert 200 < grays[2] < 240  # reference white, 203 cd/m2, is bright but not clipped
    plain = colour(flat(tmp_path, (573, 512, 512), **hdr))[1]
    assert abs(plain - grays[2]) > 20
    assert colour(flat(tmp_path, (64 + 657, 512, 512), color_trc=18, **hdr))[1] == pytest.approx(grays[2], abs=3)


def test_an_edit_lists_hidden_frames_are_no_samples(tmp_path: Path) -> None:
    made = make_numbered(tmp_path / "v.mp4", num_frames=50, options={"g": "20", "bf": "2"})
    edited = with_edit(made.path.read_bytes(), start=17 * 512 + 1024, length=800)
    (frames,) = sample(edited, [ALL])
    assert numbers(frames) == list(range(17, 37))
    assert frames.times_s == pytest.approx(np.arange(20) / 25)


def test_an_unreadable_frame_is_an_error_never_a_picture(tmp_path: Path) -> None:
    made = make_numbered(tmp_path / "v.mp4", num_frames=40, options={"g": "10", "bf": "0"})
    data = bytearray(made.path.read_bytes())
    with open_media(made.path) as container:
        packets = list(video_packets(container, video_stream(container)))
    at = data.index(bytes(packets[10])) + packets[10].size // 2
    data[at : at + 200] = bytes(200)
    with pytest.raises(MediaError, match=r"the frame at 0\.4\d+ s is damaged"):
        sample(bytes(data), [FrameRequest(Fractions((0.0, 0.27)))])
    early_and_late = sample(bytes(data), [FrameRequest(Fractions((0.0, 0.8)), pixels="gray")])[0]
    assert numbers(early_and_late) == [0, 32]  # damage that nobody looks at harms nobody


def test_arrays_come_from_allocate_once_for_each_distinct_request() -> None:
    asked: list[tuple[int, ...]] = []

    def allocate(shape: tuple[int, ...]) -> NDArray[np.uint8]:
        asked.append(shape)
        return np.full(shape, 7, np.uint8)

    one, two = FrameRequest(Uniform(2), long_side=64), FrameRequest(Rate(1), long_side=64, pixels="gray")
    made = sample(VIDEOS / "bikes.mp4", [one, two, one], allocate)
    assert asked == [(2, 27, 64, 3), (10, 27, 64)]
    assert made[0].data is made[2].data
    assert [len(frames) for frames in made] == [2, 10, 2]
    assert made[0].data.flags.c_contiguous
    assert sample(VIDEOS / "bikes.mp4", []) == []


def test_size_changes_within_a_clip_are_brought_to_the_first(tmp_path: Path) -> None:
    for name, size in (("a.ts", (160, 96)), ("b.ts", (320, 192))):
        make_numbered(tmp_path / name, num_frames=10, size=size, options={"bf": "0"}, start=0 if name == "a.ts" else 1)
    (frames,) = sample((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes(), [ALL])
    assert frames.data.shape == (20, 96, 160)
    assert numbers(frames) == list(range(10)) * 2


def test_one_pixel_and_one_frame(tmp_path: Path) -> None:
    made = make_numbered(tmp_path / "v.mkv", num_frames=1, size=(1, 1), codec="ffv1", pix_fmt="yuv444p")
    rgb, gray = sample(made.path, [FrameRequest(Uniform(8), long_side=256), FrameRequest(Rate(8), pixels="gray")])
    assert (rgb.data.shape, gray.data.shape) == ((1, 1, 1, 3), (1, 1, 1))
