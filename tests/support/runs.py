"""Whole runs on tiny sources: videos rendered once, a config made in code, and what lies in a store afterwards."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from support.fakes import CALLS
from support.numbered import make_numbered

from shardpipe.config.models import Config, CutConfig, PassConfig
from shardpipe.core.report import RunReport
from shardpipe.executors.inline import InlineExecutor
from shardpipe.executors.run import run_config
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.rows import decode_rows
from shardpipe.storage.store import Store, open_store

SIZE = (128, 72)
PARTS = ("/shards/", "/members/")


def render_videos(folder: Path, *, seconds: Sequence[int] = (3, 2), fps: int = 12) -> Path:
    """Numbered videos `v0.mp4`, `v1.mp4` ... of so many seconds, with a keyframe each second."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, duration in enumerate(seconds):
        make_numbered(
            folder / f"v{i}.mp4",
            num_frames=duration * fps,
            fps=Fraction(fps),
            size=SIZE,
            options={"g": str(fps), "bf": "0", "preset": "ultrafast"},
        )
    return folder


def make_config(
    root: Path | str,
    sources: Path | str | Sequence[str],
    passes: Sequence[Mapping[str, Any]] = (),
    *,
    every_s: float = 1.0,
    execute: Mapping[str, Any] | None = None,
    **cut: Any,
) -> Config:
    """A config that cuts each video at every second (copied: keyframes lie there), and these passes."""
    cutting = {
        "sources": sources if isinstance(sources, list) else str(sources),
        "scenes": {"type": "fixed", "every_s": every_s, "min_s": 0.5},
        "max_failed": 0.9,
        **cut,
    }
    return Config(
        root=str(root),
        cut=CutConfig.model_validate(cutting),
        passes=[PassConfig.model_validate({"from": "clips", "emit": "rows", **each}) for each in passes],
        execute=execute or {"type": "inline"},  # type: ignore[arg-type]
    )


def run_inline(config: Config, store: Store | None = None, **options: Any) -> RunReport:
    """A run in this process."""
    store = store or open_store(config.root)
    return run_config(config, store=store, executor=InlineExecutor(store), **options)


def snapshot(store: Store) -> dict[str, bytes]:
    """Every object but those of `_run/`, with its bytes."""
    return {path: store.read(path) for path in store.list("") if not path.startswith("_run/")}


def named_tars(store: Store) -> set[str]:
    """The tars that committed rows (of any Dataset and generation) and records name."""
    found = set()
    for path in store.list(""):
        name, _, rest = path.partition("/")
        if rest.startswith(("rows/", "emit/")):
            meta = decode_rows(store.read(path))[1]
            found |= {f"{name}/{ref.name}" for ref in (meta.tar, meta.members_tar) if ref is not None}
    return found


def without_orphans(store: Store) -> dict[str, bytes]:
    """`snapshot` without tars that nobody names: those of lost races and dead workers."""
    named = named_tars(store)
    return {
        path: data
        for path, data in snapshot(store).items()
        if path in named or not path.endswith(".tar") or not any(part in path for part in PARTS)
    }


def rows_of(store: Store, name: str) -> dict[str, dict[str, Any]]:
    """The folded rows of a Dataset as its own pass sees them, by key; a key twice is an error."""
    view = Dataset.open(store, name).pass_view()
    found: dict[str, dict[str, Any]] = {}
    for unit in view.units():
        for row in view.fold(unit).rows:
            assert row["key"] not in found
            found[row["key"]] = row
    return found


def calls(stage: str = "scored") -> list[str]:
    """The clip keys that a fake stage was given since the last `CALLS.clear()`."""
    return [key for kind, key in CALLS if kind == stage]
