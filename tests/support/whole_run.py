"""A whole run in small: two videos cut, scored, described and looked through for doubles, and emitted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.fakes import Blob, Scored, Worded
from support.runs import make_config

from shardpipe.config.models import Config
from shardpipe.stages.text_dup import TextDup
from shardpipe.storage.crashing import WRITES, CrashingStore, RecordingStore, T

SCORE: dict[str, Any] = {"name": "score", "stages": [Scored(frames_wanted=True)], "keep": ["duration_s > 0.5"]}
PASSES: list[dict[str, Any]] = [
    SCORE,
    {"name": "more", "from": "score", "stages": [Blob(), Worded()], "unit_clips": 2},
    {"name": "dup", "from": "more", "stages": [TextDup()], "unit_clips": 2},
]
TRAIN: dict[str, Any] = {
    "name": "train",
    "from": "dup",
    "keep": ["score < 2", "text_dup_count < 2"],
    "emit": {"members": ["json", "mp4", "npy"]},
    "shard_bytes": 20_000,
}


def whole_config(root: str, videos: Path) -> Config:
    """All of it."""
    return make_config(root, videos, [*PASSES, TRAIN])


def is_commit(name: str, path: str) -> bool:
    """Whether an operation makes a committed object: these are the same on all stores."""
    return name in WRITES and not path.startswith("_run/")


class CommitCrash(CrashingStore):
    """Crashes at the n-th operation that makes a committed object."""

    def _reach(self, name: str, path: str, act: Callable[[], T], *, count: Callable[[T], int] | None = None) -> T:
        if is_commit(name, path) or self.crashed:
            return super()._reach(name, path, act, count=count)
        return RecordingStore._reach(self, name, path, act, count=count)
