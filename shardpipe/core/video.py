"""Facts about one raw video, from its container's headers and packets, never from a full decode."""

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class VideoFacts:
    """What `media.probe` finds. Sizes are of the coded picture; `display_size` applies rotation and pixel aspect.

    Times are seconds on the source's own clock (`start_s` is its first frame's presentation time, often 0).
    """

    container: str  # FFmpeg's demuxer name: "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts", "avi"
    codec: str  # FFmpeg's codec name: h264, hevc, vp9, av1, mpeg4
    width: int
    height: int
    time_base: Fraction
    start_s: float
    duration_s: float
    num_frames: int  # from the sample table or the packets
    fps: Fraction  # average rate
    is_vfr: bool
    pix_fmt: str
    bit_depth: int
    color_transfer: str  # FFmpeg's name ("bt709", "smpte2084", "arib-std-b67") or "unknown"
    color_range: str  # "tv", "pc" or "unknown"
    color_space: str
    color_primaries: str
    interlaced: bool
    rotation: int  # degrees clockwise that a player turns the picture: 0, 90, 180, 270
    mirrored: bool  # whether it mirrors the picture, left to right, before it turns it
    sar: Fraction  # pixel aspect ratio, 1 when unknown
    bit_rate: int  # bits per second of the video stream (of the container where the stream has none), 0 when unknown
    has_audio: bool
    has_alpha: bool

    @property
    def end_s(self) -> float:
        """The time at which the last frame ends."""
        return self.start_s + self.duration_s

    @property
    def display_size(self) -> tuple[int, int]:
        """(width, height) in square pixels as a player shows it: pixel aspect widens or narrows, then rotation."""
        width, height = max(1, round(self.width * self.sar)), self.height
        return (height, width) if self.rotation in (90, 270) else (width, height)
