"""Sources for the cut tests: one of each kind of video that people have. All are numbered and small."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from support.boxes import with_edits
from support.fields_made import make_fields
from support.numbered import Numbered, make_numbered, vfr_times

NUM_FRAMES = 72
SIZE = (192, 108)
X264 = {"bf": "3", "x264-params": "b-adapt=0:b-pyramid=normal:keyint=24:scenecut=0:ref=4"}
NTSC, FILM = Fraction(30000, 1001), Fraction(24000, 1001)
HDR = {"color_trc": 16, "color_primaries": 9, "colorspace": 9, "color_range": 1}
X265 = {
    "x265-params": "log-level=none:pools=none:frame-threads=1:keyint=24:min-keyint=24:scenecut=0:open-gop=0:bframes=3"
}


def x264(extra: str, **options: str) -> dict[str, str]:
    """The usual x264 options, with more."""
    return {**X264, "x264-params": f"{X264['x264-params']}:{extra}", **options}


# name: (suffix, make_numbered's arguments, the methods that auto may end with for spans off and on keyframes)
SOURCES: dict[str, tuple[str, dict[str, Any]]] = {
    "h264": ("mp4", {"options": X264}),
    "h264_film": ("mp4", {"options": X264, "fps": FILM}),
    "h264_ntsc": ("mov", {"options": X264, "fps": NTSC}),
    "h264_30": ("mkv", {"options": X264, "fps": 30}),
    "h264_60": ("ts", {"options": X264, "fps": 60}),
    "h264_ntsc_ts": ("ts", {"options": X264, "fps": NTSC}),
    "h264_vfr": ("mp4", {"options": X264, "times_s": vfr_times(NUM_FRAMES)}),
    "h264_vfr_mkv": ("mkv", {"options": X264, "times_s": vfr_times(NUM_FRAMES, seed=1)}),
    "h264_open": ("mp4", {"options": x264("open-gop=1")}),
    "h264_open_ts": ("ts", {"options": x264("open-gop=1")}),
    "h264_refresh": ("mp4", {"options": {"x264-params": "intra-refresh=1:keyint=24:bframes=0"}}),
    "h264_refs": ("mp4", {"options": x264("ref=16:b-pyramid=strict:bframes=7")}),
    "h264_slices": ("mp4", {"options": x264("slices=4")}),
    "h264_slices_ts": ("ts", {"options": x264("slices=4")}),
    "h264_one_gop": ("mp4", {"options": x264("keyint=infinite")}),
    "h264_avi": ("avi", {"options": {**X264, "bf": "0"}}),
    "h264_avi_b": ("avi", {"options": X264}),
    "h264_flv": ("flv", {"options": X264}),
    "h264_late": ("mp4", {"options": X264, "start": 5}),
    "h264_deep": ("mp4", {"options": X264, "pix_fmt": "yuv420p10le"}),
    "h264_lossless": ("mkv", {"options": {"qp": "0", "g": "24"}}),
    "h264_444": ("mp4", {"options": X264, "pix_fmt": "yuv444p", "size": (193, 109)}),
    "h264_full": ("mp4", {"options": X264, "pix_fmt": "yuvj420p", "color": {"color_range": 2}}),
    "h264_turned": ("mp4", {"options": X264, "rotation": 90}),
    "h264_turned_back": ("mov", {"options": X264, "rotation": 270}),
    "h264_upside_down": ("mp4", {"options": X264, "rotation": 180}),
    "h264_wide": ("mp4", {"options": X264, "sar": Fraction(4, 3)}),
    "h264_wide_mkv": ("mkv", {"options": X264, "sar": Fraction(16, 11)}),
    "h264_interlaced": ("mp4", {"options": X264, "interlaced": True, "size": (192, 112)}),
    "h264_many": ("mp4", {"options": X264, "more_videos": 2}),
    "hevc": ("mp4", {"codec": "libx265", "options": X265}),
    "hevc_mkv": ("mkv", {"codec": "libx265", "options": X265}),
    "hevc_ts": ("ts", {"codec": "libx265", "options": X265}),
    "hevc_open": (
        "mp4",
        {"codec": "libx265", "options": {"x265-params": X265["x265-params"].replace("open-gop=0", "open-gop=1")}},
    ),
    "hevc_hdr": ("mp4", {"codec": "libx265", "options": X265, "pix_fmt": "yuv420p10le", "color": HDR}),
    "vp9": ("webm", {"codec": "libvpx-vp9", "options": {"g": "24", "auto-alt-ref": "1", "lag-in-frames": "12"}}),
    "vp9_mp4": ("mp4", {"codec": "libvpx-vp9", "options": {"g": "24"}}),
    "vp9_odd": ("webm", {"codec": "libvpx-vp9", "options": {"g": "24"}, "size": (193, 109)}),
    "vp9_alpha": ("webm", {"codec": "libvpx-vp9", "options": {"g": "24", "auto-alt-ref": "0"}, "pix_fmt": "yuva420p"}),
    "vp8": ("webm", {"codec": "libvpx", "options": {"g": "24", "deadline": "realtime", "cpu-used": "8", "b": "1M"}}),
    "av1": ("mp4", {"codec": "libsvtav1", "options": {"g": "24"}}),
    "av1_mkv": ("mkv", {"codec": "libsvtav1", "options": {"g": "24"}}),
    "mpeg4": ("mp4", {"codec": "mpeg4", "options": {"g": "12", "b": "1M"}}),
    "mpeg4_b": ("mp4", {"codec": "mpeg4", "options": {"g": "12", "bf": "2", "b": "1M"}}),
    "mpeg4_avi": ("avi", {"codec": "mpeg4", "options": {"g": "12", "b": "1M"}}),
    "mpeg4_avi_b": ("avi", {"codec": "mpeg4", "options": {"g": "12", "bf": "2", "b": "1M"}}),
    "mpeg2": ("mpg", {"codec": "mpeg2video", "options": {"g": "12", "bf": "2", "b": "2M"}}),
    "mjpeg": ("avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    "prores_alpha": ("mov", {"codec": "prores_ks", "pix_fmt": "yuva444p10le"}),
    "animation_alpha": ("mov", {"codec": "qtrle", "pix_fmt": "argb"}),
}

QUICK = (
    "h264", "h264_film", "h264_vfr_mkv", "h264_ntsc_ts", "h264_open", "h264_refs", "h264_slices_ts", "h264_avi_b",
    "h264_late", "h264_deep", "h264_turned", "h264_wide_mkv", "h264_interlaced", "hevc_open", "hevc_hdr", "vp9",
    "vp9_alpha", "av1", "mpeg4_b", "mpeg2", "prores_alpha", "edit_list", "picture", "leading",
    "h264_lossless", "two_edits", "fields", "fields_one_time",
)  # fmt: skip
"""What is tested by default; all of SOURCES and MADE is tested in full."""


def make_source(name: str, folder: Path) -> Numbered:
    """The source of a name, made in a folder."""
    if name in MADE:
        return MADE[name](folder)
    suffix, arguments = SOURCES[name]
    return make_numbered(folder / f"{name}.{suffix}", **{"num_frames": NUM_FRAMES, "size": SIZE, **arguments})


def remux(source: Path, target: Path, *, first: int = 0, start: int = 0, picture: bool = False) -> None:
    """Copy a video's packets from number `first` on, times moved by `start` ticks; maybe with a cover picture."""
    with av.open(str(source)) as inp, av.open(str(target), "w", options={"use_editlist": "1"}) as out:
        stream = inp.streams.video[0]
        copy = out.add_stream_from_template(stream)
        copy.time_base = stream.time_base
        cover = out.add_stream("mjpeg", rate=1, width=64, height=64, pix_fmt="yuvj420p") if picture else None
        if cover is not None:
            cover.disposition = av.stream.Disposition.attached_pic
            frame = av.VideoFrame.from_ndarray(np.full((96, 64), 99, np.uint8), format="yuvj420p")
            out.mux(cover.encode(frame))
            out.mux(cover.encode(None))
        for number, packet in enumerate(p for p in inp.demux(stream) if p.size):
            if number >= first:
                packet.pts, packet.dts, packet.stream = packet.pts + start, packet.dts + start, copy
                out.mux(packet)


def _edit_list(folder: Path) -> Numbered:
    """An mp4 whose edit list hides its first 7 frames: times before 0."""
    plain = make_numbered(folder / "plain.mp4", num_frames=NUM_FRAMES + 7, size=SIZE, options=X264)
    path = folder / "edit_list.mp4"
    with av.open(str(plain.path)) as inp:
        step = next(p.duration for p in inp.demux(inp.streams.video[0]) if p.size)
    with (
        av.open(str(plain.path)) as inp,
        av.open(str(path), "w", options={"avoid_negative_ts": "disabled", "use_editlist": "1"}) as out,
    ):
        stream = inp.streams.video[0]
        copy = out.add_stream_from_template(stream)
        copy.time_base = stream.time_base
        for packet in inp.demux(stream):
            if packet.size:
                packet.pts, packet.dts, packet.stream = packet.pts - 7 * step, packet.dts - 7 * step, copy
                out.mux(packet)
    return Numbered(path, plain.times_s[7:])


def _picture(folder: Path) -> Numbered:
    plain = make_numbered(folder / "plain.mp4", num_frames=NUM_FRAMES, size=SIZE, options=X264)
    remux(plain.path, folder / "picture.mp4", picture=True)
    return Numbered(folder / "picture.mp4", plain.times_s)


def _leading(folder: Path) -> Numbered:
    """A TS that was cut out of an open-GOP stream: it begins with frames that refer to what is not there."""
    plain = make_numbered(folder / "plain.ts", num_frames=NUM_FRAMES, size=SIZE, options=x264("open-gop=1"))
    with av.open(str(plain.path)) as inp:
        keys = [number for number, packet in enumerate(inp.demux(inp.streams.video[0])) if packet.is_keyframe]
    remux(plain.path, folder / "leading.ts", first=keys[1])
    return Numbered(folder / "leading.ts", ())


def _fields(folder: Path) -> Numbered:
    """Frames of two fields that have a packet and a time each, as in broadcasts."""
    return make_fields(folder / "fields.ts", apart=True)


def _fields_one_time(folder: Path) -> Numbered:
    """Frames of two fields, of which the second one has no time."""
    return make_fields(folder / "fields_one_time.ts", apart=False)


def _fields_mp4(folder: Path) -> Numbered:
    plain = make_fields(folder / "plain.ts", apart=True)
    remux(plain.path, folder / "fields.mp4")
    return Numbered(folder / "fields.mp4", plain.times_s)


def _two_edits(folder: Path) -> Numbered:
    """An mp4 whose edit list shows frames 0 to 19, then 48 to 67: FFmpeg reads what lies between twice, hidden."""
    plain = make_numbered(folder / "plain.mp4", num_frames=NUM_FRAMES, size=SIZE, options=X264)
    path, (step, delay) = folder / "two_edits.mp4", (512, 1024)
    path.write_bytes(with_edits(plain.path.read_bytes(), [(800, delay), (800, 48 * step + delay)]))
    return Numbered(path, plain.times_s[:40])


MADE = {
    "edit_list": _edit_list,
    "two_edits": _two_edits,
    "picture": _picture,
    "leading": _leading,
    "fields": _fields,
    "fields_one_time": _fields_one_time,
    "fields_mp4": _fields_mp4,
}
