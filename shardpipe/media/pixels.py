"""A decoded frame as the small full-range picture that a stage sees."""

from typing import TypeVar

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter
from numpy.typing import NDArray

from shardpipe.core.errors import MediaError
from shardpipe.core.frames import Pixels
from shardpipe.media.color import HLG, MATRICES, PQ, luma, tone_mapped
from shardpipe.media.decode import AREA_EXACT
from shardpipe.media.source import media_errors

SWSCALE_MATRICES = {1: 1, 4: 4, 7: 7, 9: 9, 10: 9}
"""AVColorSpace to swscale's matrices: BT.709, FCC, SMPTE 240M, BT.2020 (constant luminance read as the usual kind).
All else is BT.601, also what is not flagged, as in every reader built on FFmpeg's defaults."""
BT601 = 5
RGB_OF_GBR = (2, 0, 1)
UNREADABLE = frozenset({8, 11, 12, 13, 14})
"""Kinds of YCbCr whose colours swscale cannot compute; asking for them is an error."""

Number = TypeVar("Number", np.uint8, np.uint16)


class PixelReader:
    """Gives pictures of one size: uint8 [H, W, 3] (rgb) or [H, W] (gray: luma), full range, turned as displayed.

    Sizes are of the picture as displayed. Scaled straight from the decoded planes by area average, with the same bytes
    on every CPU. HDR (PQ, HLG) is tone-mapped to BT.709 at the small size. Alpha is ignored: colours as stored.
    """

    def __init__(self, width: int, height: int, pixels: Pixels, *, turn: int) -> None:
        """`turn`: degrees clockwise from coded to displayed, 0, 90, 180 or 270."""
        self._width, self._height = (height, width) if turn in (90, 270) else (width, height)
        self._pixels, self._turn = pixels, turn
        self._scaler = VideoReformatter()

    def read(self, frame: VideoFrame, into: NDArray[np.uint8]) -> None:
        """Write a frame's picture into `into`. Raises MediaError where it cannot be converted."""
        if frame.color_trc in (PQ, HLG) and not frame.format.is_rgb:
            scaled = self._scaled(frame, "gbrp16le")
            signal = np.stack([_plane(scaled, plane, np.dtype(np.uint16)) for plane in RGB_OF_GBR], axis=-1)
            rgb = tone_mapped(signal, frame.color_trc)
            into[...] = self._turned(luma(rgb) if self._pixels == "gray" else rgb)
        elif self._pixels == "gray":
            into[...] = self._turned(_plane(self._scaled(frame, "gray"), 0, np.dtype(np.uint8)))
        else:
            scaled = self._scaled(frame, "gbrp")  # by planes swscale rounds right; its packed rgb24 is up to 2 off
            for channel, plane in enumerate(RGB_OF_GBR):
                into[..., channel] = self._turned(_plane(scaled, plane, np.dtype(np.uint8)))

    def _scaled(self, frame: VideoFrame, name: str) -> VideoFrame:
        if frame.colorspace in UNREADABLE and name != "gray" and not frame.format.is_rgb:
            raise MediaError(f"colours in {MATRICES[frame.colorspace]} cannot be converted; transcode the video")
        # swscale takes gray for BT.601, and would turn another matrix's luma into that; luma is wanted as it is.
        matrix = BT601 if name == "gray" else SWSCALE_MATRICES.get(frame.colorspace, BT601)
        with media_errors(f"a frame of {frame.width}x{frame.height} {frame.format.name} cannot be scaled"):
            return self._scaler.reformat(
                frame,
                self._width,
                self._height,
                name,
                src_colorspace=matrix,
                dst_colorspace=matrix,
                interpolation=AREA_EXACT,
                dst_color_range=ColorRange.JPEG,
                threads=1,
            )

    def _turned(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.rot90(picture, -self._turn // 90) if self._turn else picture


def _plane(frame: VideoFrame, index: int, dtype: np.dtype[Number]) -> NDArray[Number]:
    plane = frame.planes[index]
    lines = np.frombuffer(memoryview(plane), dtype).reshape(-1, plane.line_size // dtype.itemsize)
    return lines[: frame.height, : frame.width]
