"""Made-up clips: frames for a stage, small mp4 files, and shards of them. `shardpipe.testing` offers them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from shardpipe.core.clip import KEY
from shardpipe.core.frames import FrameRequest, Frames
from shardpipe.core.stage import ClipView, Stage
from shardpipe.media.pick import Clock, exact, picture_size
from shardpipe.media.probe import probe
from shardpipe.storage.tar import TarWriter

Picture = NDArray[np.uint8]
Motion = Literal["pan", "still"]

_Case = tuple[str, int, int, int, float]
_CASES: Sequence[_Case] = (  # name, width, height, frames, fps
    ("landscape", 320, 180, 50, 25.0),
    ("black", 320, 180, 50, 25.0),
    ("portrait", 180, 320, 90, 30000 / 1001),
    ("white", 176, 144, 48, 24.0),
    ("one_frame", 320, 180, 1, 25.0),
    ("two_frames", 320, 180, 2, 25.0),
    ("odd", 333, 187, 30, 12.5),
    ("noise", 320, 180, 60, 60.0),
    ("tiny", 16, 12, 25, 25.0),
    ("one_pixel", 1, 1, 10, 25.0),
    ("slides", 640, 360, 6, 0.5),
)


def synthetic_clips(stage: Stage, *, row: Mapping[str, Any] | None = None) -> list[ClipView]:
    """Made-up clips with the frames that `stage` asks for: landscape, portrait, odd and tiny sizes, one frame, two frames,
    slow and fast frame rates, black, white, noise. Rows hold the clip's facts, and each column it reads: from `row`, or None.
    """
    return [_synthetic(stage, case, {} if row is None or i % 2 else row) for i, case in enumerate(_CASES)]


def make_clip(
    path: Path,
    *,
    duration_s: float = 2.0,
    fps: int = 25,
    size: tuple[int, int] = (320, 180),
    motion: Motion = "pan",
    pictures: Iterable[Picture] | None = None,
    crf: int = 18,
    seed: int = 0,
) -> Path:
    """Writes a small H.264 mp4 to `path`, and gives the path.

    A coloured texture of `size` (width, height, even), that of `seed`, which stands still or moves right by a fifth of the width a
    second; or `pictures`, uint8 [H, W, 3] in rgb, all of one even size.
    """
    if pictures is None:
        count = max(1, round(duration_s * fps))
        step = size[0] / 5 / fps if motion == "pan" else 0.0
        pictures = (_texture(size[0], size[1], seed=seed, shift=i * step) for i in range(count))
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryfast", "threads": "1"}
        for i, picture in enumerate(pictures):
            if i == 0:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def make_shard(
    folder: Path,
    clips: Mapping[str, Path | bytes],
    *,
    name: str = "000000",
    rows: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """Packs clips, {key: mp4 file or its bytes}, to the WebDataset shard `folder`/`name`.tar, and gives its path.

    Each has a sidecar KEY.json: key, path, size, duration and frame count, and what `rows` says of its key.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.tar"
    with TarWriter(path) as tar:
        for key, clip in clips.items():
            if not KEY.match(key):
                raise ValueError(f"bad key {key!r}: letters, digits, - and _ only, so that no reader splits it")
            facts = probe(clip)
            known = clip_facts(*facts.display_size, facts.num_frames, float(facts.fps))
            sidecar = {"key": key, "path": f"{key}.mp4", **known, **dict((rows or {}).get(key, {}))}
            tar.add(f"{key}.json", json.dumps(sidecar, sort_keys=True, allow_nan=False).encode())
            tar.add(f"{key}.mp4", clip if isinstance(clip, bytes) else Path(clip).read_bytes())
        tar.close()
    return path


def clip_facts(width: int, height: int, num_frames: int, fps: float) -> dict[str, Any]:
    """The columns of a clip's row that follow from its size, length and rate."""
    return {
        "duration_s": num_frames / fps,
        "num_frames": num_frames,
        "width": width,
        "height": height,
        "aspect_ratio": height / width,
        "resolution": height * width,
        "fps": fps,
    }


def _synthetic(stage: Stage, case: _Case, row: Mapping[str, Any]) -> ClipView:
    name, width, height, count, fps = case
    clock = Clock(pts=np.arange(count, dtype=np.int64), end=count, base=1 / fps)
    frame_sets = []
    for request in stage.frame_requests:
        chosen = exact(request, clock)
        made = [
            _field(case, int(i)) if request.pixels == "mv" else _shrunk(_drawn(case, int(i)), request) for i in chosen
        ]
        frame_sets.append(Frames(np.stack(made), clock.times_s[chosen]))
    known = clip_facts(width, height, count, fps)
    return ClipView(key=name, row=dict.fromkeys(stage.reads) | known | dict(row), frame_sets=tuple(frame_sets))


def _drawn(case: _Case, index: int) -> Picture:
    """Frame `index` of a made-up clip, uint8 [H, W, 3]."""
    name, width, height, _, fps = case
    if name == "noise":
        return np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)
    if name in ("black", "white"):
        return np.full((height, width, 3), 255 if name == "white" else 0, dtype=np.uint8)
    return _texture(width, height, seed=len(name), shift=index / fps * width / 5)


def _field(case: _Case, index: int) -> Picture:
    """The motion vectors of frame `index`, the bytes of float32 [H, W, 2]: none in the first, which is a keyframe."""
    name, width, height, _, _ = case
    field = np.zeros((-(-height // 16), -(-width // 16), 2), np.float32)
    if index == 0:
        field[...] = np.nan
    elif name == "noise":
        field[...] = np.random.default_rng(index).normal(size=field.shape)
    elif name not in ("black", "white"):
        field[..., 0] = width / 5 / max(width, height)
    return field.view(np.uint8)


def _texture(width: int, height: int, *, seed: int, shift: float) -> Picture:
    """A soft coloured texture of many scales, uint8 [H, W, 3], the same for a seed; it wraps around at the sides."""
    return np.roll(_still_texture(width, height, seed), round(shift), axis=1)


@lru_cache(maxsize=8)
def _still_texture(width: int, height: int, seed: int) -> Picture:
    generator = np.random.default_rng(seed)
    picture = np.full((height, width, 3), 118, dtype=np.float32)
    for cells in (3, 8, 24, 64):
        grid = generator.normal(size=(max(2, cells * height // width), cells, 3)).astype(np.float32)
        grid[:, -1] = grid[:, 0]
        picture += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * 60 / np.log2(cells + 1)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _shrunk(rgb: Picture, request: FrameRequest) -> Picture:
    """A picture as a request wants it."""
    size = picture_size(request, (rgb.shape[1], rgb.shape[0]))
    picture = rgb if size == (rgb.shape[1], rgb.shape[0]) else cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    wanted = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) if request.pixels == "gray" else picture
    return np.asarray(wanted, dtype=np.uint8)
