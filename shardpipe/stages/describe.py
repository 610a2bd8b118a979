"""Describe: a clip's scores as one plain English sentence."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from shardpipe.core.columns import Writes, string
from shardpipe.core.stage import ClipView, Result, Stage

CAMERA_WORDS: Mapping[str, str] = {
    "pan_left": "pans left",
    "pan_right": "pans right",
    "tilt_up": "tilts up",
    "tilt_down": "tilts down",
    "zoom_in": "zooms in",
    "zoom_out": "zooms out",
    "roll": "rolls",
    "static": "is static",
    "shake": "shakes",
}
"""A verb for every label of `camera_motion`."""

Steps = Sequence[tuple[float, str]]
MOTION: Steps = ((2, "almost no motion"), (12, "slow motion"), (40, "moderate motion"), (100, "fast motion"))
FASTEST = "very fast motion"
BRIGHTNESS: Steps = ((0.12, "very dark"), (0.28, "dark"), (0.65, ""), (0.82, "bright"))
BRIGHTEST = "very bright"
CONTRAST: Steps = ((0.08, "low-contrast"), (0.28, ""))
HIGHEST_CONTRAST = "high-contrast"
COLOUR: Steps = ((4, "black-and-white"), (18, "muted"), (50, ""), (82, "colourful"))
MOST_COLOURFUL = "very colourful"
BLUR: Steps = ((0.38, "sharp"), (0.55, ""), (0.68, "soft"))
MOST_BLURRED = "blurred"
BLOCKS: Steps = ((0.35, ""), (0.55, "blocky"))
MOST_BLOCKY = "very blocky"
MUCH = 0.2  # of a clip's frames or time, from which "partly" is said
NEARLY_ALL = 0.9


class Describe(Stage):
    """Says a clip's scores in one plain English sentence.

    `description` string: camera motion, motion in words, and quality; null for a clip without any of these scores.

    It needs no frames and no model, and never writes `text`: captions are another stage's. Each field names the column to
    read, or is null to leave it out; the columns must exist in the pass's input or be written by a stage before this one.
    A value that is null in a row is left out of its sentence. Labels that a stranger's camera stage adds are said with
    spaces for underscores.

    Example: "A dark, sharp and colourful clip with fast motion, in which the camera pans left and zooms in."

    Cost: next to none. Example rule: `description LIKE '%pans left%'`.
    """

    version: ClassVar[int] = 1

    type: Literal["describe"] = "describe"
    camera: str | None = "cmotion"
    motion: str | None = "flow_px_s"
    brightness: str | None = "brightness"
    contrast: str | None = "contrast"
    colourfulness: str | None = "colourfulness"
    blur: str | None = "blur"
    blockiness: str | None = "blockiness"
    black: str | None = "black_share"
    frozen: str | None = "frozen_share"

    @model_validator(mode="after")
    def _reads_something(self) -> "Describe":
        if not self.reads:
            raise ValueError("every column is null; name at least one to describe, such as camera: cmotion")
        return self

    @property
    def reads(self) -> Sequence[str]:
        """The columns that its fields name."""
        named = (
            self.camera,
            self.motion,
            self.brightness,
            self.contrast,
            self.colourfulness,
            self.blur,
            self.blockiness,
        )
        return [name for name in (*named, self.black, self.frozen) if name is not None]

    @property
    def writes(self) -> Writes:
        """One sentence."""
        return {"description": string}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """Each clip on its own."""
        return [{"description": self._sentence(view.row)} for view in batch]

    def _sentence(self, row: Mapping[str, Any]) -> str | None:
        def score(column: str | None) -> float | None:
            return None if column is None or row[column] is None else float(row[column])

        looks = [
            worded(score(self.brightness), BRIGHTNESS, BRIGHTEST),
            worded(score(self.contrast), CONTRAST, HIGHEST_CONTRAST),
            worded(score(self.blur), BLUR, MOST_BLURRED),
            worded(score(self.blockiness), BLOCKS, MOST_BLOCKY),
            worded(score(self.colourfulness), COLOUR, MOST_COLOURFUL),
        ]
        words = joined([word for word in looks if word])
        sentence = f"{article(words)} {words} clip" if words else "A clip"
        if motion := worded(score(self.motion), MOTION, FASTEST):
            sentence += f" with {motion}"
        labels = None if self.camera is None else row[self.camera]
        if labels:
            sentence += f", in which the camera {joined(list(camera_verbs(labels)))}"
        if shares := joined(list(_shares(score(self.black), score(self.frozen)))):
            sentence += f"; it is {shares}"
        return None if sentence == "A clip" else sentence + "."


def worded(value: float | None, steps: Steps, last: str) -> str:
    """The word of the first step that `value` is below, else `last`; empty for a value that is missing or unremarkable."""
    if value is None:
        return ""
    return next((word for below, word in steps if value < below), last)


def camera_verbs(labels: Sequence[str]) -> Iterator[str]:
    """What the camera does, a phrase a label, each once, in the order given."""
    for label in dict.fromkeys(labels):
        yield CAMERA_WORDS.get(label) or f"moves ({label.replace('_', ' ')})"


def joined(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`; empty for none."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def article(words: str) -> str:
    """`A` or `An`, by the first letter."""
    return "An" if words[:1] in "aeiou" else "A"


def _shares(black: float | None, frozen: float | None) -> Iterator[str]:
    for value, word in ((black, "black"), (frozen, "still")):
        if value is not None and value >= MUCH:
            yield f"{word} throughout" if value >= NEARLY_ALL else f"{word} in part"
