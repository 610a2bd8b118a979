"""Perceptual hash: a short fingerprint of what a clip shows, to find copies of it."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from shardpipe.core.columns import Writes, string
from shardpipe.core.frames import FrameRequest, Uniform
from shardpipe.core.stage import ClipView, Result, Stage
from shardpipe.stages._bars import find_box

HEX = 16  # digits a frame: 64 bits
SIDE = 32
LOW = 8
DEAD_ZONE = 4.0  # grey levels of the 32x32 picture times 32: less than coding noise moves a coefficient


class Phash(Stage):
    """Gives each clip a short fingerprint of what it shows, to find copies.

    Copies (encoded again, scaled, a little brighter, with black bars) get nearly the same, other clips a far one.

    Column `phash`, string: 16 hex digits a frame, `num_frames` frames in order of time (64 digits by default); frames
    that a short clip lacks repeat the last one, so the length is always the same. Compare with `distance`: share of bits
    that differ, about 0.5 for unrelated clips, below 0.1 for copies; a threshold of 0.15 tells them apart.
    In DuckDB: `bit_count(xor(unhex(a.phash)::BIT, unhex(b.phash)::BIT))` counts the bits.

    Each frame: black bars are cut off, the rest is reduced to 32x32 grey, and each of the 8x8 lowest frequencies of its cosine
    transform (but the mean) gives a bit: whether it is above their median (the DCT hash of Zauner, "Implementation
    and benchmarking of perceptual image hash functions", 2010). One colour gives zeros. A mirrored or turned copy is another picture.

    Cost: 1 ms of CPU a clip. A rule sees one clip; pairs are found with `shardpipe query ROOT`, here those of 0.15 of 256 bits:

        SELECT a.key, b.key FROM score a JOIN score b ON a.key < b.key
        WHERE bit_count(xor(unhex(a.phash)::BIT, unhex(b.phash)::BIT)) <= 38
    """

    version: ClassVar[int] = 1

    type: Literal["phash"] = "phash"
    num_frames: int = Field(default=4, ge=1, le=64, description="frames at the middle of equal parts of the clip")

    @property
    def frames(self) -> FrameRequest:
        """Small grey frames spread over the clip."""
        return FrameRequest(sampling=Uniform(n=self.num_frames), long_side=256, pixels="gray")

    @property
    def writes(self) -> Writes:
        """One text."""
        return {"phash": string}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """Each clip on its own."""
        return [{"phash": self._fingerprint(view.frames.data)} for view in batch]

    def _fingerprint(self, frames: NDArray[np.uint8]) -> str:
        box = find_box(frames, frames)
        inside = frames[:, box.y : box.y + box.height, box.x : box.x + box.width]
        hashes = [f"{frame_hash(frame):0{HEX}x}" for frame in inside]
        return "".join(hashes + hashes[-1:] * (self.num_frames - len(hashes)))


def frame_hash(gray: NDArray[np.uint8]) -> int:
    """The 64 bits of one frame, uint8 [H, W]."""
    small = cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:LOW, :LOW].ravel()
    low[0] = 0.0  # the mean brightness says nothing of what is shown
    bits = low > max(float(np.median(low)), 0.0) + DEAD_ZONE
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def distance(a: str, b: str) -> float:
    """The share of bits, 0 to 1, in which two `phash` values differ; ValueError if they are of different lengths."""
    if len(a) != len(b) or not a:
        raise ValueError(
            f"fingerprints of {len(a)} and {len(b)} digits cannot be compared; make both with the same num_frames"
        )
    return (int(a, 16) ^ int(b, 16)).bit_count() / (4 * len(a))
