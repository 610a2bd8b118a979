"""The columns that stages which write a text have of it: the text, and how it came about."""

from typing import Any

from shardpipe.core.columns import Columns, bool_, int64, string
from shardpipe.models.generate.request import Answer

BESIDE: Columns = {"model": string, "prompt": string, "tokens": int64, "truncated": bool_, "finish": string}
"""By what follows the text's own name."""


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
