"""What is asked of a model, and what it answers. The three engines take and give the same."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Finish = Literal["stop", "length", "content_filter"]
"""Why an answer ends: by itself, at `max_tokens` (or the model's context), or cut off by the server's filter."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. `temperature` 0 is greedy. An engine that has no such setting refuses a value that is not the default."""

    max_tokens: int = 256
    min_tokens: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Guide:
    """What an answer must look like (guided decoding): one of `choices`, or JSON that fits `json_schema`. Exactly one is given."""

    choices: tuple[str, ...] = ()
    json_schema: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Request:
    """One question.

    key: the clip's, for messages and logs; engines send it as the request's id or user where they can.
    frames: uint8 [T, H, W, 3] RGB, or None for text alone; the engine may keep it (it is the request's own memory).
    times_s: float64 [T], of each frame after the clip's first. duration_s: of the clip.
    as_video: give the frames as one video input, with their times, and not as T images.
    system: a system message before the prompt.
    timeout_s: how long the engine may take from when it takes the request up; longer is a GenerateError.
    """

    key: str
    prompt: str
    frames: NDArray[np.uint8] | None = field(default=None, repr=False)
    times_s: NDArray[np.float64] | None = field(default=None, repr=False)
    duration_s: float | None = None
    as_video: bool = False
    system: str | None = None
    sampling: Sampling = Sampling()
    guide: Guide | None = None
    timeout_s: float = 300.0


@dataclass(frozen=True)
class Answer:
    """What came of it. num_tokens: generated, the end token counted or not as the engine counts; None where a server does not say."""

    text: str
    finish: Finish
    num_tokens: int | None
    num_prompt_tokens: int | None


class GenerateError(Exception):
    """A request that this engine cannot answer, though it answers others: too long, timed out, refused by the server. One line."""
