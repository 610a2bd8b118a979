"""How clips are written: the `cut.write` part of a config, and what came of one clip."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
MAX_CRF_H26X = 51

CutMethod = Literal["copy", "smart", "encode", "editlist"]


class WriteSpec(BaseModel):
    """`cut.write`: the way a clip's mp4 is made. The encoder fields hold for `encode` and for what else must be encoded;
    what `auto` encodes of an H.264 video between copied parts is always H.264.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Literal["auto", "encode", "editlist"] = Field(
        default="auto",
        description="auto: copied where that is exact, else the ends or all re-encoded; editlist: lossless, at any frame",
    )
    max_trim_s: float = Field(
        default=0.5, ge=0, description="auto: how much of a scene may be given up to copy whole GOPs"
    )
    audio: bool = Field(default=False, description="keep the first audio track, in sync")
    codec: Literal["h264", "hevc", "av1", "vp9"] = Field(default="h264", description="what is encoded whole")
    encoder: Literal["software", "nvenc"] = Field(
        default="software",
        description="of what is encoded whole: nvenc needs a GPU that has an encoder and is probed first",
    )
    crf: int = Field(default=18, ge=0, le=63, description="quality, lower is better; h264 and hevc: at most 51")
    preset: str | None = Field(
        default=None, description="the encoder's, x264's names for all; None: veryfast for encode, superfast else"
    )
    gop_s: float = Field(
        default=1.0, gt=0, description="seconds between keyframes of what is encoded, for random access"
    )
    short_side: int | None = Field(default=None, ge=16, description="encode: scale down to this short side; never up")
    fps: float | None = Field(default=None, gt=0, le=1000, description="encode: resample to this constant rate")

    @property
    def speed(self) -> str:
        """The preset in use."""
        return self.preset or ("veryfast" if self.method == "encode" else "superfast")

    @model_validator(mode="after")
    def _fits(self) -> "WriteSpec":
        if self.method != "encode" and (self.short_side is not None or self.fps is not None):
            raise ValueError(f"short_side and fps change every frame: they need method: encode, not {self.method}")
        if self.codec in ("h264", "hevc") and self.crf > MAX_CRF_H26X:
            raise ValueError(f"crf of {self.codec} is at most {MAX_CRF_H26X}, not {self.crf}")
        if self.encoder == "nvenc" and self.codec == "vp9":
            raise ValueError("there is no nvenc encoder for vp9: use encoder: software")
        if self.preset is not None and self.preset not in PRESETS and not self._own_preset(self.preset):
            raise ValueError(f"preset {self.preset!r} is none of {', '.join(PRESETS)}, nor one of {self.codec}'s own")
        return self

    def _own_preset(self, preset: str) -> bool:
        """Whether it is one of the encoder's own: 0 to 13 of SVT-AV1, 0 to 8 of VP9 (speed), p1 to p7 of NVENC."""
        if self.encoder == "nvenc":
            return preset in ("p1", "p2", "p3", "p4", "p5", "p6", "p7")
        highest = {"av1": 13, "vp9": 8}.get(self.codec, -1)
        return preset.isascii() and preset.isdigit() and int(preset) <= highest


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
