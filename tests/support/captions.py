"""A captioner, a clip, and what the one makes of the other with given answers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from support.fake_engine import Answers, FakeEngine

from shardpipe.core.frames import Frames
from shardpipe.core.stage import ClipView, Result
from shardpipe.stages.caption import Caption

MODEL = "org/Tiny-VL"


def caption(**fields: Any) -> Caption:
    return Caption.model_validate({"model": MODEL, **fields})


def view(key: str = "a", row: Mapping[str, Any] | None = None, *, num_frames: int = 2) -> ClipView:
    frames = Frames(np.full((num_frames, 4, 6, 3), 7, np.uint8), np.arange(num_frames) / 2)
    return ClipView(key, {"duration_s": 3.0, **(row or {})}, (frames,))


def asked(stage: Caption, answers: Answers, *views: ClipView) -> tuple[list[Result], FakeEngine]:
    engine = FakeEngine(answers)
    stage.use(engine)
    return list(stage.process(views or [view()])), engine
