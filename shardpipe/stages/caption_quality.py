"""Caption quality: what is wrong with a caption, as columns for rules."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from shardpipe.core.columns import ColumnName, Columns, bool_, float32, int64
from shardpipe.core.stage import ClipError, ClipView, Result, Stage
from shardpipe.stages._camera_words import contradicts
from shardpipe.stages._caption_faults import (
    has_markup,
    is_unfinished,
    most_in_a_row,
    names_medium,
    own_sentences,
    repeat_share,
    share_of_sentences,
)
from shardpipe.stages._refusals import is_refusal
from shardpipe.stages._sentences import DENIAL, GUESS
from shardpipe.stages.annotate import camera_words

KINDS: Columns = {
    "num_chars": int64,
    "num_sentences": int64,
    "repeat_share": float32,
    "most_in_a_row": int64,
    "is_refusal": bool_,
    "denial_share": float32,
    "guess_share": float32,
    "names_medium": bool_,
    "has_markup": bool_,
    "is_unfinished": bool_,
}


class CaptionQuality(Stage):
    """Finds what is wrong with captions: refusals, loops, guesses, markup, an end in the middle, the wrong language, a camera that is not so.

    Each column's name has the `prefix`, by default `caption_`. All are null for a clip without a text; the shares and `most_in_a_row`
    also for a text without words. Words are counted by `text_len`.

    `caption_num_chars`     int64: characters, those at its ends that are white space left out.
    `caption_num_sentences` int64.
    `caption_repeat_share`  float32, 0 to 1: share of its words in a phrase of three that was there before (six letters in scripts
                            without spaces); 0 for a good caption, near 1 for a loop.
    `caption_most_in_a_row` int64: how often a phrase of up to 40 words directly follows itself, itself counted; 1 for none, 2 for "very very".
    `caption_is_refusal`    bool: it refuses, in place of a caption ("I'm sorry, I cannot", "As an AI", "No video was provided"), in one of
                            ten languages, where it begins. A caption that quotes such words is none.
    `caption_denial_share`  float32, 0 to 1: share of its sentences that say what is not there ("no text is visible"), in English.
    `caption_guess_share`   float32, 0 to 1: share of its sentences that guess ("possibly", "appears to be"), in English.
    `caption_names_medium`  bool: it speaks of the video, a frame or the image, in place of what is to be seen; in nine languages.
    `caption_has_markup`    bool: Markdown, a list, JSON, code, tags or a chat template's tokens in it.
    `caption_is_unfinished` bool: it does not end in a full stop (of any script). Null for Thai and Lao, which have none.

    With `camera: cmotion` also `caption_contradicts_camera` bool: the caption says in English that the camera does what its labels do not
    say (`pans left` without `pan_left`, a static shot with any move), or denies what they say. `moves` goes with any move, `pans` with
    any pan or tilt, `moves forward` with all but `zoom_out`. Null where it says nothing of the camera's motion, or there are no labels.

    With `language: en` also `caption_is_in_language` bool: the column `lang` (which stage `lang` writes) says that language. Null where
    that is null.

    `clean` takes out much of this; run this after it to judge what is kept, before it to judge the captioner.

    Cost: 1.6 CPU-milliseconds a caption of 100 words.

    Example rules: `NOT caption_is_refusal AND caption_repeat_share < 0.3 AND caption_most_in_a_row < 4`, `caption_num_chars >= 40`,
    `caption_contradicts_camera IS NOT TRUE`, `caption_is_in_language`, `caption_guess_share + caption_denial_share < 0.5`.
    """

    version: ClassVar[int] = 1

    type: Literal["caption_quality"] = "caption_quality"
    column: str = Field(default="text", description="column that holds the caption")
    prefix: ColumnName = Field(default="caption_", description="how the names of its columns begin")
    camera: str | None = Field(default=None, description="column of the camera's motion: a list of labels, or a text")
    language: str | None = Field(default=None, description="the language that captions are to be in: `en`")
    lang: str = Field(default="lang", description="column of the captions' language; read where `language` is given")

    @model_validator(mode="after")
    def _fits(self) -> "CaptionQuality":
        if self.language is None and self.lang != type(self).model_fields["lang"].default:
            raise ValueError("lang is read where language is given: give it too, as in language: en")
        if taken := sorted(set(self.reads) & set(self.writes)):
            raise ValueError(f"prefix: it writes the column {taken[0]}, which it reads; give another prefix")
        return self

    @property
    def reads(self) -> Sequence[str]:
        """The caption, and what it is held against."""
        return [
            self.column,
            *([self.camera] if self.camera is not None else []),
            *([self.lang] if self.language is not None else []),
        ]

    @property
    def writes(self) -> Columns:
        """One column a fault."""
        kinds = {
            **KINDS,
            **({"contradicts_camera": bool_} if self.camera is not None else {}),
            **({"is_in_language": bool_} if self.language is not None else {}),
        }
        return {f"{self.prefix}{name}": kind for name, kind in kinds.items()}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        """Each clip on its own."""
        return [self._result(view.row) for view in batch]

    def _result(self, row: Mapping[str, Any]) -> Result:
        text = row[self.column]
        if text is None:
            return dict.fromkeys(self.writes)
        if not isinstance(text, str):
            return ClipError(f"its column {self.column} holds {text!r:.40}, and caption_quality reads text")
        found: dict[str, Any] = faults(text)
        if self.camera is not None:
            try:
                found["contradicts_camera"] = contradicts(text, camera_words(row, self.camera))
            except TypeError as error:
                return ClipError(str(error))
        if self.language is not None:
            spoken = row[self.lang]
            if not isinstance(spoken, str | None):
                return ClipError(f"its column {self.lang} holds {spoken!r:.40}, which is no code of a language")
            found["is_in_language"] = None if spoken is None else spoken == self.language
        return {f"{self.prefix}{name}": value for name, value in found.items()}


def faults(text: str) -> dict[str, bool | float | None]:
    """All that is found in the text alone, by the names of `KINDS`."""
    return {
        "num_chars": len(text.strip()),
        "num_sentences": len(own_sentences(text)),
        "repeat_share": repeat_share(text),
        "most_in_a_row": most_in_a_row(text),
        "is_refusal": is_refusal(text),
        "denial_share": share_of_sentences(text, DENIAL),
        "guess_share": share_of_sentences(text, GUESS),
        "names_medium": names_medium(text),
        "has_markup": has_markup(text),
        "is_unfinished": is_unfinished(text),
    }
