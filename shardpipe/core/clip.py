"""A clip's key and the columns that `cut` writes of it."""

import hashlib
import re
import unicodedata

from shardpipe.core.columns import Columns, bool_, float64, int64, string

KEY = re.compile(r"[A-Za-z0-9_-]{1,88}\Z")
MAX_STEM = 40

CLIP_COLUMNS: Columns = {
    "key": string,
    "path": string,  # KEY.mp4, the member's name
    "source": string,  # the video's url
    "video_id": string,
    "scene": int64,  # the scene's start in the source, milliseconds; clips split from one long scene share it
    "start_s": float64,
    "end_s": float64,
    "duration_s": float64,
    "num_frames": int64,
    "width": int64,
    "height": int64,
    "aspect_ratio": float64,  # height / width
    "resolution": int64,  # height * width
    "fps": float64,
    "codec": string,
    "num_bytes": int64,
    "sha256": string,
    "has_audio": bool_,
    "cut_method": string,
    "num_encoded": int64,
    "pix_fmt": string,
    "bit_depth": int64,
    "color_transfer": string,
    "interlaced": bool_,
    "rotation": int64,
    "sar": string,
    "bit_rate": int64,
}
"""In the order in which rows have them. The sources' passthrough columns follow, then STATE and LOCATION."""

UNIT_LIST = frozenset({"unit", "url", "etag", "container", "part", "start_edge_s", "end_edge_s", "cost"})
"""What a batch of sources says of a video beside its passthrough columns (with `size` and `offset`)."""

STATE: Columns = {"kept": bool_, "dropped_by": string, "error": string}
"""What a layer says of a clip: still kept, else the rule or stage that dropped it; the error where there was one."""

LOCATION: Columns = {"shard": string, "offset": int64, "size": int64, "xxh128": string}
"""Where a base layer's mp4 lies: tar name relative to the Dataset, first byte and number of bytes of the mp4 itself;
and its XXH3 (128 bits, hex), by which emit checks every byte that it copies (a sha256 more would double its cost)."""


def video_id(url: str) -> str:
    """A video's id: its stem made safe for a key, and 12 hex of the sha256 of its url, so equal stems do not collide."""
    stem = url.rstrip("/").rsplit("/", 1)[-1].rsplit(".", 1)[0]
    ascii_stem = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    safe = re.sub(r"[^A-Za-z0-9_-]+", "_", ascii_stem)[:MAX_STEM].strip("_-") or "video"
    return f"{safe}-{hashlib.sha256(url.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"


def clip_key(video: str, start_s: float) -> str:
    """The key of the clip of `video` (an id) whose first frame is shown at `start_s`, to the millisecond."""
    start_ms = round(start_s * 1000)
    return f"{video}_{start_ms:08d}" if start_ms >= 0 else f"{video}_n{-start_ms:08d}"
