"""Frames: still pictures of a clip, kept beside it."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from shardpipe.core.columns import Member, Writes, float64, int64, list_of
from shardpipe.core.frames import FrameRequest, Uniform
from shardpipe.core.stage import ClipError, ClipView, Result, Stage
from shardpipe.core.stills import ASKED, HEIGHT, TIMES_S, WIDTH, still_ext, still_name

MAX_SIDE = 16383  # of a webp


class FramesStage(Stage):
    """Keeps still pictures of each clip as webp files beside it, for readers, and for later passes in place of decoding.

    Members `KEY.f00.webp`, `KEY.f01.webp` ...: the frames on screen at the middle of `num_frames` equal parts of the clip,
    as displayed, shrunk to `short_side` (never enlarged). A clip of fewer frames has fewer members; where shards are to
    hold them (`emit: {members: [json, mp4, f00.webp, ...]}`), keep `len(frames_times_s) = frames_asked`.

    frames_times_s: seconds after the clip's first frame at which each of the pictures is shown.
    frames_asked: `num_frames`, whether or not the clip has so many.
    frames_width, frames_height: size of the pictures.

    A later pass whose input has these columns takes a stage's frames from the members instead of decoding (`frames_from:
    members`, the default) where the pictures are large enough and the times are right: within the `tolerance_s` that
    the stage's request allows, or, without a tolerance, where it asks for as many frames or for an odd part of them (3 or
    9 of 9: the very same frames). A clip all of whose stages are served so is never read; with `frames_from: members_only`
    none is, and what is not served is an error. Pictures are lossy: at quality 90
    a colour is off by some 1 % on average, and model scores by about as little.

    Cost: beside decoding, 10 to 15 ms of CPU and 20 kB a picture at 256.

    Example rule, for clips that have all of their pictures: `len(frames_times_s) = frames_asked`.
    """

    version: ClassVar[int] = 1

    type: Literal["frames"] = "frames"
    num_frames: int = Field(default=8, ge=1, le=64, description="at the middle of equal parts of the clip")
    short_side: int = Field(
        default=256, ge=1, le=4096, description="of the pictures; an image encoder at 224 is served"
    )
    quality: int = Field(default=90, ge=1, le=100, description="of webp")

    @property
    def frames(self) -> FrameRequest:
        """The frames to keep, in colour."""
        return FrameRequest(Uniform(self.num_frames), short_side=self.short_side)

    @property
    def writes(self) -> Writes:
        """The members, and what they are."""
        members = {still_name(i): Member(still_ext(i)) for i in range(self.num_frames)}
        return {TIMES_S: list_of(float64), ASKED: int64, WIDTH: int64, HEIGHT: int64, **members}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """Each clip on its own."""
        return [self._kept(view) for view in batch]

    def _kept(self, view: ClipView) -> Result:
        frames = view.frames
        height, width = frames.data.shape[1:3]
        values: dict[str, Any] = {
            TIMES_S: frames.times_s.tolist(),
            ASKED: self.num_frames,
            WIDTH: width,
            HEIGHT: height,
            **dict.fromkeys(still_name(i) for i in range(self.num_frames)),
        }
        if max(width, height) > MAX_SIDE:
            return ClipError(f"a picture of {width}x{height} cannot be kept as webp, whose sides end at {MAX_SIDE}")
        for i, picture in enumerate(frames.data):
            values[still_name(i)] = self._webp(picture)
        return values

    def _webp(self, picture: NDArray[np.uint8]) -> bytes:
        bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        done, data = cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, self.quality])
        if not done:
            raise ValueError("OpenCV cannot write webp here")
        return data.tobytes()
