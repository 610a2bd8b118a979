"""Annotate: a caption with the clip's scores and camera motion at its end, in words or numbers, and without them again."""

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from shardpipe.core.columns import ColumnName, Columns, string
from shardpipe.core.stage import ClipError, ClipView, Result, Stage

AES_WORDS = ("terrible", "very poor", "poor", "fair", "good", "very good", "excellent")
MOTION_WORDS = ("very low", "low", "fair", "high", "very high", "extremely high")
AES_LIMITS = (4.0, 4.5, 5.0, 5.5, 6.0, 6.5)
MOTION_LIMITS = (0.5, 2.0, 5.0, 10.0, 20.0)
UNTOLD = frozenset(("", "undetermined", "unknown"))
"""What Open-Sora's own tools write where they cannot tell."""

NUMBER = r"-?\d+\.\d"
SCORES = re.compile(
    rf" (?:\[(?:aesthetic score: {NUMBER}(?:, motion score: {NUMBER})?|motion score: {NUMBER})\]"
    rf"|Aesthetic quality: (?:{'|'.join(AES_WORDS)})\.(?: Motion strength: (?:{'|'.join(MOTION_WORDS)})\.)?"
    rf"|Motion strength: (?:{'|'.join(MOTION_WORDS)})\.)\Z"
)
CAMERA = re.compile(r" Camera motion: [^.:\[\]]+\.\Z")


class Annotate(Stage):
    """Says a clip's scores and what the camera does at the end of its caption, as Open-Sora's captions do, or takes that off again.

    `<into>` string, by default `text_annotated`: the caption with it; null for a clip without a caption. The caption itself stays.

    style `worded`: "A dog runs. Aesthetic quality: good. Motion strength: low. Camera motion: pan left, zoom in.", in the words of
    Open-Sora 1.3's --text_score2text. style `numeric`: "A dog runs. [aesthetic score: 5.6, motion score: 1.2] Camera motion: pan
    left, zoom in.", as 1.2's --score-to-text. `camera` takes every label of `camera_motion`, one or several, those of a strange
    stage, and Open-Sora's own strings (`pan_left+zoom_in`, `pan left`); a score or a motion that is null is not said.

    So that a model learns captions with and without them, each score is left out of a share of the clips (`leave_out`, 0.2
    as there), and the camera's motion of `leave_out_camera` (0). Which clips, their keys and the `seed` decide, for each part alone:
    the same in each run. Limits of other scores, such as `flow_px_s`, are fields.

    style `undo` takes such an end off a caption, of either style: with `column` the annotated one, `into` has what was there before.
    A caption that ended so of itself loses that too, if nothing was said of it.

    Fields name the columns to read, which must exist; null leaves one out.

    Cost: next to none. Example rules: `text_annotated IS NOT NULL`, `NOT contains(text_annotated, 'Aesthetic quality: poor')`.
    """

    version: ClassVar[int] = 1

    type: Literal["annotate"] = "annotate"
    column: str = Field(default="text", description="column that holds the caption")
    into: ColumnName = Field(
        default="text_annotated", description="column for the caption with its annotation, or without"
    )
    style: Literal["worded", "numeric", "undo"] = "worded"
    aes: str | None = Field(default="aes", description="column of the aesthetic score")
    motion: str | None = Field(default="flow", description="column of the motion score")
    camera: str | None = Field(
        default="cmotion", description="column of the camera's motion: a list of labels, or a text"
    )
    aes_limits: tuple[float, ...] = Field(
        default=AES_LIMITS, description=f"below which it is {', '.join(AES_WORDS[:-1])}"
    )
    motion_limits: tuple[float, ...] = Field(
        default=MOTION_LIMITS, description=f"below which it is {', '.join(MOTION_WORDS[:-1])}"
    )
    leave_out: float = Field(default=0.2, ge=0, le=1, description="share of clips without it, for each score")
    leave_out_camera: float = Field(default=0.0, ge=0, le=1, description="share of clips without the camera's motion")
    seed: int = 42

    @model_validator(mode="after")
    def _fits(self) -> "Annotate":
        if self.into == self.column:
            raise ValueError(f"column and into are both {self.into}: a column is written once, and the caption stays")
        for name, words in (("aes_limits", AES_WORDS), ("motion_limits", MOTION_WORDS)):
            limits = getattr(self, name)
            if len(limits) != len(words) - 1 or list(limits) != sorted(set(limits)):
                raise ValueError(f"{name}: give {len(words) - 1} numbers, each greater than the one before")
        fields = type(self).model_fields
        if self.style == "undo":
            idle = set(fields) - {"type", "on_error", "column", "into", "style"}
            if named := sorted(name for name in idle if getattr(self, name) != fields[name].default):
                raise ValueError(f"style undo reads the caption alone: leave out {', '.join(named)}")
        elif self.aes is None and self.motion is None and self.camera is None:
            raise ValueError("every column is null; name at least one to say, such as camera: cmotion")
        return self

    @property
    def reads(self) -> Sequence[str]:
        """The caption and the columns that it says."""
        said = () if self.style == "undo" else (self.aes, self.motion, self.camera)
        return [name for name in (self.column, *said) if name is not None]

    @property
    def writes(self) -> Columns:
        """The caption with its annotation, or without."""
        return {self.into: string}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """Each clip on its own."""
        return [self._result(view) for view in batch]

    def _result(self, view: ClipView) -> Result:
        text = view.row[self.column]
        if text is not None and not isinstance(text, str):
            return ClipError(f"its column {self.column} holds {text!r:.40}, and annotate reads text")
        if text is None or not text.strip():
            return {self.into: None}
        if self.style == "undo":
            return {self.into: undone(text)}
        try:
            return {self.into: " ".join([text, *self._said(view.key, view.row)])}
        except TypeError as error:
            return ClipError(str(error))

    def _said(self, key: str, row: Mapping[str, Any]) -> Iterator[str]:
        """What is said of a clip, in the order in which it is said."""
        aes = None if self._is_left_out("aes", key, self.leave_out) else score(row, self.aes)
        motion = None if self._is_left_out("motion", key, self.leave_out) else score(row, self.motion)
        if self.style == "worded":
            if aes is not None:
                yield f"Aesthetic quality: {word(aes, self.aes_limits, AES_WORDS)}."
            if motion is not None:
                yield f"Motion strength: {word(motion, self.motion_limits, MOTION_WORDS)}."
        else:
            numbers = (("aesthetic score", aes), ("motion score", motion))
            if said := ", ".join(f"{name}: {value:z.1f}" for name, value in numbers if value is not None):
                yield f"[{said}]"
        moves = camera_words(row, self.camera)
        if moves and not self._is_left_out("camera", key, self.leave_out_camera):
            yield f"Camera motion: {', '.join(moves)}."

    def _is_left_out(self, part: str, key: str, share: float) -> bool:
        """Whether the clip is one of those without this part: its key and the seed decide."""
        drawn = int.from_bytes(hashlib.sha256(f"{self.seed}:{part}:{key}".encode()).digest()[:8], "big")
        return drawn < share * 2**64


def undone(text: str) -> str:
    """A caption without the annotation at its end."""
    return SCORES.sub("", CAMERA.sub("", text, count=1), count=1)


def word(value: float, limits: Sequence[float], words: Sequence[str]) -> str:
    """The word of the first limit that `value` is below, else the last one."""
    return next((name for below, name in zip(limits, words, strict=False) if value < below), words[-1])


def score(row: Mapping[str, Any], column: str | None) -> float | None:
    """A row's number; None where it has none, or a NaN; TypeError for what is no number."""
    value = None if column is None else row[column]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"its column {column} holds {value!r:.40}, and annotate wants a number")
    return float(value) if math.isfinite(value) else None


def camera_words(row: Mapping[str, Any], column: str | None) -> list[str]:
    """A row's labels in words, each once (`pan left`); TypeError for what holds no labels."""
    value = None if column is None else row[column]
    labels = re.split(r"[+,]", value) if isinstance(value, str) else [] if value is None else value
    if not isinstance(labels, list | tuple) or not all(isinstance(label, str) for label in labels):
        raise TypeError(f"its column {column} holds {value!r:.40}, which are no labels of the camera's motion")
    words = (" ".join(re.sub(r"[_.:\[\]]", " ", label).split()) for label in labels)
    return list(dict.fromkeys(each for each in words if each.casefold() not in UNTOLD))
