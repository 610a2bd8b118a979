"""Stages that write a text: how they are shown to write, and the columns that say how the text came about."""

from typing import Any

from pydantic import Field, model_validator

from shardpipe.core.columns import Columns, bool_, int64, string
from shardpipe.models.generate.request import Answer
from shardpipe.stages._asking import AskingStage
from shardpipe.stages._presets import SAMPLES

BESIDE: Columns = {"model": string, "prompt": string, "tokens": int64, "truncated": bool_, "finish": string}
"""By what follows the text's own name."""


class WritingStage(AskingStage):
    """A stage whose answers are texts."""

    samples: int | tuple[str, ...] = Field(
        default=0, description="descriptions that show the manner of writing: your own, or 1 to 3 of ours"
    )

    @model_validator(mode="after")
    def _has_samples(self) -> "WritingStage":
        if isinstance(self.samples, int) and not 0 <= self.samples <= len(SAMPLES):
            raise ValueError(f"samples: there are {len(SAMPLES)}; for more give a list of your own")
        return self

    @property
    def manner(self) -> str:
        """The samples."""
        texts = SAMPLES[: self.samples] if isinstance(self.samples, int) else self.samples
        shown = "\n".join(f"- {text}" for text in texts)
        title = "These describe other clips, and show only the manner of writing; take no fact from them:\n"
        return title + shown if shown else ""


def written_columns(into: str) -> Columns:
    """The text and what stands beside it."""
    return {into: string, **{f"{into}_{name}": kind for name, kind in BESIDE.items()}}


def written(into: str, text: str | None, finish: str, *, model: str, prompt: str, answer: Answer) -> dict[str, Any]:
    """Their values for an answer."""
    return {
        into: text,
        f"{into}_model": model,
        f"{into}_prompt": prompt,
        f"{into}_tokens": answer.num_tokens,
        f"{into}_truncated": answer.finish == "length",
        f"{into}_finish": finish,
    }


def not_written(into: str, finish: str) -> dict[str, Any]:
    """Their values where nothing was asked."""
    return {**dict.fromkeys(written_columns(into)), f"{into}_finish": finish}
