"""OCR: how much text a clip shows, and what it says."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from shardpipe.core.columns import ColumnType, Writes, float32, int64, list_of, string
from shardpipe.core.errors import StageError
from shardpipe.core.frames import FrameRequest, Uniform
from shardpipe.core.stage import ClipView, Result, Stage

Picture = NDArray[np.uint8]
Engine = Callable[[Picture], Any]

SURE = 0.5  # detection score from which the PaddleOCR detectors are built to be trusted, rapidocr's own default
LARGEST = 0.5  # of the picture; on soft textures the detector now and then takes everything for one line
CUDA = "CUDAExecutionProvider"
CUDA_LIBRARY = "capi/*onnxruntime_providers_cuda*"
READABLE = 0.5  # recognition score from which a line is text, rapidocr's own default

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Region:
    """One piece of text in a picture: its corners in pixels, int32 [4, 2], clockwise from the top left, and its score, 0 to 1."""

    corners: NDArray[np.int32]
    score: float


class Ocr(Stage):
    """Finds clips with subtitles, title cards or watermarks, by the text detector that comes inside the rapidocr package.

    `ocr`      int64, 0 and up: number of text regions with a score above `min_score`, Open-Sora's count, in the frame that
               has most. Pictures without text give up to about 3 by mistake.
    `ocr_area` float32, 0 to 1: share of the picture that text regions with a score above 0.5 (or `min_score`, if that is
               higher) cover, in the frame where it is largest: what is counted by mistake seldom scores so high.
    `ocr_text` list of string, only with `text: true`: the lines read in the counted regions, in order of time and place, each once.

    `num_frames` frames spread over the clip are looked at, and of each the whole picture, `long_side` pixels wide or high: text
    lower than about 8 pixels of that is missed. It takes 0.2 to 0.3 CPU-seconds a frame, `text` about twice that.
    A `cuda` device is used where the installed onnxruntime can (onnxruntime-gpu), else the CPU.

    Open-Sora has no limit for its count. EasyAnimate keeps clips whose text covers at most 0.02 of the picture
    (`easyanimate/video_caption`, by another detector): a logo of 10 by 5 % of the picture is 0.005, a subtitle of 60 by 5 % 0.03.

    Cost: with 3 frames 0.6 to 0.9 CPU-seconds a clip.

    Example rules: `ocr_area < 0.02`, `ocr <= 3`.
    """

    version: ClassVar[int] = 1

    type: Literal["ocr"] = "ocr"
    num_frames: int = Field(default=3, ge=1, description="frames at the middle of equal parts of the clip")
    long_side: int = Field(default=960, ge=64, description="size of the frames; never enlarged")
    min_score: float = Field(default=0.3, ge=0, lt=1, description="score above which a region counts")
    text: bool = Field(default=False, description="also read the text into `ocr_text`")

    _find: Engine | None = PrivateAttr(default=None)
    _read: Engine | None = PrivateAttr(default=None)

    @property
    def frames(self) -> FrameRequest:
        """Colour frames spread over the clip."""
        return FrameRequest(sampling=Uniform(n=self.num_frames), long_side=self.long_side, pixels="rgb")

    @property
    def writes(self) -> Writes:
        """The count, the area, and where asked the text."""
        columns: dict[str, ColumnType] = {"ocr": int64, "ocr_area": float32}
        return columns | ({"ocr_text": list_of(string)} if self.text else {})

    @property
    def uses_device(self) -> bool:
        """Where the installed onnxruntime can."""
        package = find_spec("onnxruntime")  # not imported: a run asks this too, which computes nothing itself
        return bool(package and package.origin and any(Path(package.origin).parent.glob(CUDA_LIBRARY)))

    def setup(self, device: str) -> None:
        """Loads the detector, and the reader where text is wanted, from the package's own files."""
        # an engine each: rapidocr's call flags stay set on the object for the calls that follow
        found = {"Det.box_thresh": self.min_score, "Det.limit_type": "max", "Det.limit_side_len": self.long_side}
        self._find = _engine(device, {"Global.use_rec": False, **found})
        if self.text:
            self._read = _engine(device, {"Global.use_det": False})

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """Each clip on its own."""
        return [self._score(view) for view in batch]

    def _score(self, view: ClipView) -> Mapping[str, Any]:
        pictures = [np.ascontiguousarray(frame[..., ::-1]) for frame in view.frames.data]  # rapidocr takes bgr
        regions = [self.regions(picture) for picture in pictures]
        scores: dict[str, Any] = {
            "ocr": max(len(found) for found in regions),
            "ocr_area": max(area(found, picture.shape[:2]) for found, picture in zip(regions, pictures, strict=True)),
        }
        if self.text:
            lines = (
                line
                for picture, found in zip(pictures, regions, strict=True)
                for region in found
                if (line := self.read(picture, region))
            )
            scores["ocr_text"] = list(dict.fromkeys(lines))
        return scores

    def regions(self, bgr: Picture) -> list[Region]:
        """The text regions of a picture, uint8 [H, W, 3] in bgr, from the top to the bottom."""
        if self._find is None:
            raise StageError("ocr: process was called before setup")
        found = self._find(bgr)
        if found.boxes is None:
            return []
        return [
            Region(np.asarray(box, dtype=np.int32), float(score))
            for box, score in zip(found.boxes, found.scores, strict=True)
            if score > self.min_score
            and cv2.contourArea(np.asarray(box, dtype=np.float32)) <= LARGEST * bgr.shape[0] * bgr.shape[1]
        ]

    def read(self, bgr: Picture, region: Region) -> str | None:
        """The text of a region; None where it cannot be read."""
        if self._read is None:
            raise StageError("ocr: process was called before setup")
        said = self._read(_upright(bgr, region))
        if not said.txts or said.scores[0] < READABLE:
            return None
        return str(said.txts[0]).strip() or None


def area(regions: Sequence[Region], shape: tuple[int, int]) -> float:
    """The share of a picture of `shape` (height, width) that the sure ones of `regions` cover together, 0 to 1."""
    mask = np.zeros(shape, dtype=np.uint8)
    for region in regions:
        if region.score > SURE:
            cv2.fillPoly(mask, [region.corners], 1)
    return float(mask.mean())


def _upright(bgr: Picture, region: Region) -> Picture:
    """The region as a straight picture; one that is much higher than wide is turned, as its text is."""
    corners = region.corners.astype(np.float32)
    width = max(1, int(max(np.linalg.norm(corners[0] - corners[1]), np.linalg.norm(corners[2] - corners[3]))))
    height = max(1, int(max(np.linalg.norm(corners[0] - corners[3]), np.linalg.norm(corners[1] - corners[2]))))
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
    turn = cv2.getPerspectiveTransform(corners, target)
    straight = cv2.warpPerspective(bgr, turn, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(np.rot90(straight) if height >= 1.5 * width else straight, dtype=np.uint8)


def _engine(device: str, params: Mapping[str, Any]) -> Engine:
    """A rapidocr engine on one thread, which says nothing and loads nothing but what its package holds."""
    # the import takes over a second, and a pass without ocr does without it
    import onnxruntime  # noqa: PLC0415
    from rapidocr import RapidOCR  # noqa: PLC0415

    cuda = device.startswith("cuda")
    if cuda and CUDA not in onnxruntime.get_available_providers():
        log.warning("ocr runs on the CPU: the installed onnxruntime has no CUDA; install onnxruntime-gpu in its place")
        cuda = False
    threads = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
    gpu: dict[str, bool | int | str] = {"EngineConfig.onnxruntime.use_cuda": cuda}
    if cuda:
        gpu["EngineConfig.onnxruntime.cuda_ep_cfg.device_id"] = int(device.partition(":")[2] or 0)
        # else it doubles what it holds each time it needs more, and others live on that GPU
        gpu["EngineConfig.onnxruntime.cuda_ep_cfg.arena_extend_strategy"] = "kSameAsRequested"
    engine: Engine = RapidOCR(
        params={"Global.log_level": "critical", "Global.use_cls": False, **threads, **gpu, **params}
    )
    return engine
