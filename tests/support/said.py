"""Captions and scores that are told beforehand, by key, over Datasets made by hand: for stages that look through a Dataset."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from support.fakes import note

from shardpipe.config.models import Config
from shardpipe.core.columns import Writes, int64, string
from shardpipe.core.stage import ClipError, ClipView, Result, Stage


class Said(Stage):
    """`text` and `aes` of each key. fails: keys that are errors, until FAKE_HEALED is in the environment."""

    type: Literal["said"] = "said"
    texts: Mapping[str, str | None] = {}
    scores: Mapping[str, int | None] = {}
    fails: tuple[str, ...] = ()

    @property
    def writes(self) -> Writes:
        return {"text": string, "aes": int64}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        note(self, batch)
        return [self._result(view.key) for view in batch]

    def _result(self, key: str) -> Result:
        if key in self.fails and "FAKE_HEALED" not in os.environ:
            return ClipError("not today")
        return {"text": self.texts.get(key), "aes": self.scores.get(key)}


def passes_config(root: Path | str, *passes: Mapping[str, Any], **execute: Any) -> Config:
    """A config of these passes over a `clips` that is there."""
    return Config.model_validate(
        {
            "root": str(root),
            "passes": [{"from": "clips", "emit": "rows", "stages": [], **each} for each in passes],
            "execute": execute or {"type": "inline"},
        }
    )


def first_of_text(
    units: Mapping[str, Sequence[str]], texts: Mapping[str, str | None]
) -> dict[str, tuple[str | None, int | None]]:
    """What `text_dup` must say of each key, found with a plain dict; `units` has the clips that count."""
    seen: dict[str, list[str]] = {}
    found: dict[str, tuple[str | None, int | None]] = {}
    for key in (key for keys in units.values() for key in keys):
        text = texts.get(key)
        if text is None:
            found[key] = (None, None)
            continue
        before = seen.setdefault(text, [])
        found[key] = (before[0] if before else None, len(before))
        before.append(key)
    return found
