"""A stage and a shared step that load small text files as their weights: numbers that scale what they write."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from support.fakes import ONE_FRAME, note, start_of

from shardpipe.core.columns import Writes, float64
from shardpipe.core.shared import SharedStage
from shardpipe.core.stage import ClipError, ClipView, Result, Stage
from shardpipe.core.weights import Weights, WeightsUrl
from shardpipe.models.weights import resolve

PAGE = "https://example.com/head"


def number_in(weights: Weights) -> float:
    return float(resolve(weights).read_text(encoding="utf-8"))


class Encoder(SharedStage):
    """A number for each clip, by its file."""

    type: Literal["encoder"] = "encoder"
    file: WeightsUrl

    @property
    def loads(self) -> Sequence[Weights]:
        return [Weights("backbone", self.file)]

    def setup(self, device: str) -> None:
        self.__dict__["number"] = number_in(self.loads[0])

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        note(self, batch)
        return [{self.column: dict.fromkeys(self.requests, self.__dict__["number"])} for _ in batch]


class Weighted(Stage):
    """`weighted`: where a clip starts, seconds, times the number in its weights (and in the encoder's, if it has one)."""

    type: Literal["weighted"] = "weighted"
    weights: WeightsUrl = "hf://org/repo/head.txt"
    encoder: WeightsUrl | None = None
    column: str = "weighted"
    fails: tuple[int, ...] = ()

    @property
    def shares(self) -> Sequence[SharedStage]:
        return () if self.encoder is None else [Encoder(file=self.encoder, requests=(ONE_FRAME,))]

    @property
    def loads(self) -> Sequence[Weights]:
        return [Weights("head", self.weights, licence="MIT", source=PAGE, num_bytes=3_700_000)]

    @property
    def writes(self) -> Writes:
        return {self.column: float64}

    def setup(self, device: str) -> None:
        self.__dict__["number"] = number_in(self.loads[0])

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        note(self, batch)
        return [self._result(view) for view in batch]

    def _result(self, view: ClipView) -> Result:
        if start_of(view.key) in self.fails:
            return ClipError("not this one")
        scale: Any = self.__dict__["number"]
        for shared in self.shares:
            scale *= shared.made_for(view)[ONE_FRAME]
        return {self.column: start_of(view.key) / 1000 * scale}


def write_number(path: Path, number: float) -> Path:
    """Weights of the size of any other such file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{number:10.3f}", encoding="utf-8")
    return path
