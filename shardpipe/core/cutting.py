"""How clips are written: the `cut.write` part of a config, and what came of one clip."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

CutMethod = Literal["copy", "smart", "encode", "editlist"]


class WriteSpec(BaseModel):
    """`cut.write`: the way a clip's mp4 is made. The encoder fields hold for `encode` and for what `auto` must re-encode."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["auto", "encode", "editlist"] = Field(
        default="auto",
        description="auto: copied where that is exact, else the ends or all re-encoded; editlist: lossless, at any frame",
    )
    max_trim_s: float = Field(
        default=0.5, ge=0, description="auto: how much of a scene's start may be given up to begin at an IDR"
    )
    audio: bool = Field(default=False, description="keep the first audio stream, in sync")
    codec: Literal["h264", "hevc", "av1", "vp9"] = Field(default="h264", description="encode: what is encoded")
    encoder: Literal["software", "nvenc"] = Field(
        default="software",
        description="encode: nvenc needs a GPU that has an encoder and is probed first",
    )
    crf: int = Field(default=18, ge=0, le=63, description="quality of what is encoded: lower is better and larger")
    preset: str = Field(default="veryfast", description="the encoder's own name for its speed")
    gop_s: float = Field(default=1.0, gt=0, description="encode: seconds between keyframes, for random access")
    short_side: int | None = Field(default=None, ge=16, description="encode: scale down to this short side; never up")
    fps: float | None = Field(default=None, gt=0, description="encode: resample to this constant rate")


@dataclass(frozen=True)
class Span:
    """What lies between two cuts, in ticks of the video stream's time base: frames with start <= pts < end."""

    start: int
    end: int


@dataclass(frozen=True)
class CutClip:
    """One clip as written to `file`, an mp4. Facts are of the clip as displayed; `span` is what was really cut."""

    file: Path
    method: CutMethod
    span: Span
    start_s: float
    end_s: float
    num_frames: int
    num_encoded: int
    codec: str
    width: int
    height: int
    fps: float
    pix_fmt: str
    bit_depth: int
    color_transfer: str
    interlaced: bool
    rotation: int
    sar: Fraction
    bit_rate: int
    has_audio: bool
