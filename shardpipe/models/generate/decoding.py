"""How the engine `transformers` draws tokens and ends answers: row by row, so that none depends on the others of its batch."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from shardpipe.models.generate.request import Sampling

End = Literal["stop", "length", "timeout", "closed"]

MORE_TOKENS = 4  # that are decoded beside those that a stop string may lie in


class Draw:
    """A logits processor for greedy search, which leaves of each row only the token that was drawn for it.

    Each row draws with a generator of its own seed (by the race of exponential clocks, as vLLM does), and the tokens of its own
    prompt and answer alone count for the repetition penalty, as in vLLM.
    starts: of each row, where its prompt begins after its padding.
    """

    def __init__(self, sampling: Sampling, seeds: Sequence[int], starts: Sequence[int], device: torch.device) -> None:
        self._sampling, self._starts = sampling, starts
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores float32 [rows, vocabulary], by the tokens so far [rows, length]."""
        sampling = self._sampling
        if sampling.repetition_penalty != 1:
            scores = self._penalised(input_ids, scores)
        if sampling.temperature == 0:
            return scores
        chances = torch.softmax(kept(scores / sampling.temperature, sampling.top_k, sampling.top_p), dim=-1)
        clocks = torch.stack([torch.empty_like(chances[0]).exponential_(generator=each) for each in self._generators])
        drawn = (chances / clocks.clamp_min(torch.finfo(clocks.dtype).tiny)).argmax(dim=-1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter(-1, drawn, 0.0)

    def _penalised(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores, penalty = scores.clone(), self._sampling.repetition_penalty
        for row, start in enumerate(self._starts):
            seen = torch.unique(input_ids[row, start:])
            score = scores[row, seen]
            scores[row, seen] = torch.where(score < 0, score * penalty, score / penalty)
        return scores


def kept(scores: torch.Tensor, top_k: int, top_p: float) -> torch.Tensor:
    """Scores of which all are -inf but the `top_k` highest (0: all), and of those the fewest that together have a chance of `top_p`."""
    if 0 < top_k < scores.shape[-1]:
        least = scores.topk(top_k, dim=-1).values[..., -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    if top_p < 1:
        ordered, order = scores.sort(dim=-1, descending=True, stable=True)
        chances = torch.softmax(ordered, dim=-1)
        is_beyond = chances.cumsum(dim=-1) - chances >= top_p
        is_beyond[..., 0] = False
        scores = scores.masked_fill(is_beyond.scatter(-1, order, is_beyond), -torch.inf)
    return scores


@dataclass(frozen=True)
class Limits:
    """When a row ends. max_tokens: of its own answer. until_s: by `time.monotonic`."""

    max_tokens: int
    until_s: float


class Ends:
    """A stopping criterion that notes for each row how it ended, and after how many tokens."""

    def __init__(
        self,
        limits: Sequence[Limits],
        sampling: Sampling,
        *,
        width: int,
        end_tokens: frozenset[int],
        decode: Callable[[list[int]], str],
        is_closed: Callable[[], bool],
    ) -> None:
        self._limits, self._sampling, self._width = limits, sampling, width
        self._end_tokens, self._decode, self._is_closed = end_tokens, decode, is_closed
        self._window = max((len(stop.encode()) for stop in sampling.stop), default=0) + MORE_TOKENS
        self.ends: list[End | None] = [None] * len(limits)
        self.num_tokens = [0] * len(limits)

    def __deepcopy__(self, _: dict[int, Any]) -> "Ends":
        """Itself: what it notes is read after `generate`, which may copy what it is given."""
        return self

    def __call__(self, input_ids: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:  # noqa: ANN401
        """Which rows are done, bool [rows], by all tokens so far [rows, width + n]."""
        count = input_ids.shape[1] - self._width
        tails = input_ids[:, max(self._width, input_ids.shape[1] - self._window) :].tolist()
        for row, tail in enumerate(tails):
            if self.ends[row] is None:
                self.ends[row] = self._end(row, count, tail)
                self.num_tokens[row] = count
        return torch.tensor([end is not None for end in self.ends], device=input_ids.device)

    def _end(self, row: int, count: int, tail: list[int]) -> End | None:
        limits, stops = self._limits[row], self._sampling.stop
        if tail[-1] in self._end_tokens:
            return "stop"
        if stops and count >= self._sampling.min_tokens:
            text = self._decode(tail)
            if any(stop in text for stop in stops):
                return "stop"
        if count >= limits.max_tokens:
            return "length"
        if time.monotonic() >= limits.until_s:
            return "timeout"
        return "closed" if self._is_closed() else None


def before_stop(text: str, sampling: Sampling) -> str:
    """The text up to where a stop string ends it. With `min_tokens`, earlier ones did not count: up to the last one."""
    find = str.rfind if sampling.min_tokens else str.find
    places = [place for stop in sampling.stop if (place := find(text, stop)) >= 0]
    return text[: min(places)] if places else text
