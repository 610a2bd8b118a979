"""Videos of several real scenes, made with the same bytes on every machine (one set of library versions given)."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

VIDEOS = Path(__file__).parents[1] / "assets" / "videos"
EXACT = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
FPS = 25
Planes = NDArray[np.uint8]
"""uint8 [height * 3 / 2, width]: the planes of a yuv420p frame, one below the other."""
Piece = tuple[str, int, int]
"""A real clip's name, its first frame and the number of frames."""

STREET = (("bikes", 0, 150), ("bigbuckbunny", 0, 75), ("carphone_pristine", 0, 60))
"""Hard cuts within `bikes` and between the pieces."""


@cache
def all_planes(name: str, size: tuple[int, int]) -> tuple[Planes, ...]:
    """All frames of a real clip, scaled to `size` (width, height), both even."""
    scaler = VideoReformatter()
    with av.open(str(VIDEOS / f"{name}.mp4")) as container:
        return tuple(
            scaler.reformat(frame, *size, "yuv420p", interpolation=EXACT, threads=1).to_ndarray()
            for frame in container.decode(video=0)
        )


def joined(pieces: Sequence[Piece], size: tuple[int, int], *, dissolve: int = 0) -> Iterator[Planes]:
    """One piece after the other; with `dissolve`, so many frames mix into the next piece's at each joint."""
    before: Sequence[Planes] = ()
    for name, first, count in pieces:
        frames = all_planes(name, size)[first : first + count]
        for i, old in enumerate(before):
            weight = i + 1
            mixed = old.astype(int) * (len(before) + 1 - weight) + frames[i].astype(int) * weight
            yield (mixed // (len(before) + 1)).astype(np.uint8)
        body = frames[len(before) :]
        before = body[len(body) - dissolve :] if dissolve else ()
        yield from body[: len(body) - dissolve]
    yield from before


def write_planes(path: Path, frames: Iterable[Planes], *, codec: str = "libx264", **options: Any) -> Path:
    """Encode frames to a video, 25 a second; `options` are the encoder's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if codec == "libx264":
        options = {"preset": "veryfast", "crf": "23", "x264-params": "cpu-independent=1", **options}
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=FPS, options={key: str(each) for key, each in options.items()})
        stream.codec_context.thread_count = 1
        for i, planes in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(planes), format="yuv420p")
            if i == 0:
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def compose(
    path: Path,
    pieces: Sequence[Piece] = STREET,
    *,
    size: tuple[int, int] = (320, 180),
    dissolve: int = 0,
    codec: str = "libx264",
    **options: Any,
) -> Path:
    """A video of these pieces, as web videos are: a keyframe at most scene cuts, and where the encoder wants one."""
    return write_planes(path, joined(pieces, size, dissolve=dissolve), codec=codec, **options)
