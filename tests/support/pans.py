"""Videos of a picture that slides at a known speed, by any encoder."""

import io
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import av
import numpy as np
from support.camera_suite import Case, Pose, render


def pan(
    speed: tuple[float, float],
    *,
    texture: str = "fractal",
    codec: str = "libx264",
    size: tuple[int, int] = (480, 272),
    fps: int = 25,
    num_frames: int = 40,
    options: Mapping[str, str] | None = None,
    sar: Fraction = Fraction(1),
    rotation: int = 0,
    interlaced: bool = False,
) -> bytes:
    """A Matroska file (mp4 where it is rotated or its pixels are not square): the content moves right and down by `speed`, in widths of the coded picture
    a second.
    """
    case = Case("pan", frozenset(), lambda t: Pose(x=speed[0] * t, y=speed[1] * t), texture=texture, fps=fps, size=size)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4" if rotation or sar != 1 else "matroska") as out:
        stream: Any = out.add_stream(codec, rate=fps, options=dict(options or {}))
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.sample_aspect_ratio = sar
        if rotation:
            stream.set_display_rotation(-rotation)
        if interlaced:
            stream.codec_context.flags |= 1 << 18 | 1 << 29  # interlaced DCT and motion estimation
            stream.codec_context.field_order = 2
        for number in range(num_frames):
            picture = np.ascontiguousarray(render(case, number))
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        out.mux(stream.encode(None))
    return buffer.getvalue()
