"""A root that has all that there is: batches of sources, retries, slices, members, stages that look back, shards in two
windows, and an index beside an older one. Made by the real engine, the same bytes every time.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.fakes import Blob, Broken, Scored, Worded
from support.runs import make_config, render_videos, run_inline

from shardpipe.engine.cutting import cut as cutting
from shardpipe.executors import retry as retrying
from shardpipe.executors.inline import InlineExecutor
from shardpipe.executors.retry import retry_root
from shardpipe.stages.text_dup import TextDup
from shardpipe.storage.store import Store, open_store

SCORE = {"name": "score", "stages": [Blob(), Broken(), Scored(), Worded()], "max_failed": 1.0, "unit_clips": 2}
DUP = {"name": "dup", "from": "score", "stages": [TextDup()], "unit_clips": 2}
TRAIN = {
    "name": "train",
    "from": "dup",
    "keep": ["score < 5"],
    "emit": {"members": ["json", "mp4", "npy"], "plan_units": 2},
    "shard_bytes": 20_000,
}
STAGES = {"blob": Blob, "broken": Broken, "scored": Scored, "worded": Worded, "text_dup": TextDup}


def later_video(folder: Path) -> Path:
    """The batch of sources that is added when all is emitted."""
    return render_videos(folder, seconds=(4,))


def make_whole(
    root: Path | str,
    videos: Path,
    later: Path,
    opened: Callable[[str], Store] = open_store,
    *,
    steps: Sequence[int] = range(6),
    begun: Callable[[int], object] = int,
) -> None:
    """Cut with a video that cannot be read, retry, score with clips that fail, retry, emit, add sources, emit.

    opened: what each step gets as its store. steps: those of the six to do; `begun` is told of each.
    """
    real = cutting.open_source

    def failing(part: Mapping[str, Any], *rest: Any) -> Any:
        if part["url"].endswith("v1.mp4"):
            raise OSError("the disk is away")
        return real(part, *rest)

    def run(*passes: Mapping[str, Any], **options: Any) -> None:
        assert run_inline(make_config(root, videos, passes), opened(str(root)), **options).failed_units == {}

    def retry() -> None:
        assert retry_root(str(root)).failed_units == {}

    make: list[Callable[[], None]] = [
        run,
        retry,
        lambda: run(SCORE),
        retry,
        lambda: run(SCORE, DUP, TRAIN),
        lambda: run(SCORE, DUP, TRAIN, add_sources=str(later)),
    ]
    for step in steps:
        begun(step)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(retrying, "stage_class", STAGES.__getitem__)
            patch.setattr(retrying, "executor_for", lambda _, store, **__: InlineExecutor(store))
            patch.setattr(retrying, "open_store", lambda url, **_: opened(url))
            patch.delenv("FAKE_HEALED", raising=False)
            if step == 0:
                patch.setattr(cutting, "open_source", failing)
            elif step > 2:
                patch.setenv("FAKE_HEALED", "1")
            make[step]()
