"""A pass over cached frames never reads a clip, gives what it says, and is another result than one over decoded frames."""

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.runs import make_config, rows_of, run_inline
from support.seeing import Seen
from webdataset.tariterators import base_plus_ext

from shardpipe.core.errors import ConfigError
from shardpipe.core.stage import Stage
from shardpipe.engine.views.opened import open_dataset
from shardpipe.engine.views.report import funnel
from shardpipe.executors import retry as retrying
from shardpipe.executors.inline import InlineExecutor
from shardpipe.executors.retry import retry_root
from shardpipe.executors.run import run_config
from shardpipe.storage.crashing import RecordingStore
from shardpipe.storage.store import Store, open_store

KEPT = {"name": "kept", "stages": [{"type": "frames", "num_frames": 4, "short_side": 64}]}
LOOSE = Seen(tolerance_s=0.3)


def after(source: str, name: str, *stages: Stage, **more: Any) -> dict[str, Any]:
    return {"name": name, "from": source, "stages": list(stages), **more}


def run(root: Path, videos: Path, *passes: dict[str, Any], store: Store | None = None, **options: Any) -> Store:
    report = run_inline(make_config(root, videos, passes), store, **options)
    assert not report.failed_units
    return open_store(str(root))


def garble_clips(store: Store, root: Path) -> None:
    for path in store.list("clips/shards"):
        size = (root / path).stat().st_size
        (root / path).chmod(0o644)
        (root / path).write_bytes(bytes(size))


def counts(store: Store, name: str) -> tuple[int, int]:
    usage = funnel(store, name).passes[-1].usage
    assert usage is not None
    return usage.num_decoded, usage.num_from_stills


def test_the_clips_are_never_read(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    store = run(root, videos, KEPT)
    assert counts(store, "kept") == (5, 0)
    garble_clips(store, root)
    watching = RecordingStore(open_store(str(root)))
    run(root, videos, KEPT, after("kept", "score", LOOSE), store=watching)
    assert counts(store, "score") == (0, 5)
    assert not [each for each in watching.operations if "shards/" in each.path]
    for row in rows_of(store, "score").values():
        assert row["error"] is None
        first = round(row["start_s"] * 12)
        times = row["seen_times_s"]
        assert set(times) <= set(row["frames_times_s"])
        assert row["seen"] == [first + round(at * 12) for at in times]
        assert np.abs(np.array(times) - np.array([0.1, 0.5, 0.9]) * row["duration_s"]).max() <= 0.3


def test_in_decode_processes_too(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    passes = [KEPT, after("kept", "score", LOOSE, Seen(column="every", num=2))]
    here = run(root, videos, *passes)
    other = tmp_path / "other"
    config = make_config(other, videos, passes, execute={"type": "local", "workers": 1, "decoders": 1})
    assert not run_config(config).failed_units
    there = open_store(str(other))
    assert counts(there, "score") == counts(here, "score") == (5, 5)
    wanted = ("seen", "seen_mean", "every", "every_mean")
    assert [[row[name] for name in wanted] for row in rows_of(there, "score").values()] == [
        [row[name] for name in wanted] for row in rows_of(here, "score").values()
    ]


def test_who_is_served_does_not_depend_on_who_else_runs(videos: Path, tmp_path: Path) -> None:
    """`every` is served by no still: its clip is decoded, and `seen` gets its cached frames all the same."""
    root = tmp_path / "root"
    alone, both = after("kept", "alone", LOOSE), after("kept", "both", LOOSE, Seen(column="every", num=3))
    store = run(root, videos, KEPT, alone, both)
    assert counts(store, "alone") == (0, 5)
    assert counts(store, "both") == (5, 5)
    for key, row in rows_of(store, "both").items():
        one = rows_of(store, "alone")[key]
        assert (row["seen"], row["seen_mean"]) == (one["seen"], one["seen_mean"])
        assert len(row["every"]) == 3


def test_media_on_demand_is_another_pass(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    store = run(root, videos, KEPT, after("kept", "score", LOOSE), after("kept", "media", LOOSE, frames_from="media"))
    assert counts(store, "media") == (5, 0)
    cached, decoded = (next(iter(rows_of(store, name).values())) for name in ("score", "media"))
    assert cached["seen_mean"] != decoded["seen_mean"]
    assert cached["seen_mean"] == pytest.approx(decoded["seen_mean"], abs=5)
    with pytest.raises(ConfigError, match="cached_frames"):
        run(root, videos, KEPT, after("kept", "score", LOOSE, frames_from="media"))


def test_results_are_reused_only_where_the_frames_are_the_same(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    exact = Seen(column="exact", num=3)
    old = {"name": "old", "stages": [LOOSE, exact]}
    run(root, videos, KEPT, old)
    store = run(root, videos, KEPT, old, after("kept", "score", LOOSE, exact, reuse=["old"]))
    rows, before = rows_of(store, "score"), rows_of(store, "old")
    assert all(row["exact_mean"] == before[key]["exact_mean"] for key, row in rows.items())
    assert all(row["seen_mean"] != before[key]["seen_mean"] for key, row in rows.items())
    assert counts(store, "score") == (0, 5)  # the exact ones were decoded once, by the old pass


def test_a_still_whose_bytes_changed_is_an_error_of_its_clip(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a retry takes it from the stills again."""
    monkeypatch.setattr(retrying, "stage_class", {"seen": Seen}.__getitem__)
    monkeypatch.setattr(retrying, "executor_for", lambda _, store, **__: InlineExecutor(store))
    root = tmp_path / "root"
    store = run(root, videos, KEPT)
    victim = next(iter(rows_of(store, "kept").values()))
    place = victim["members"]["f00.webp"]
    (root / place.path).chmod(0o644)
    whole = (root / place.path).read_bytes()
    with (root / place.path).open("r+b") as file:
        file.seek(place.offset + place.size // 2)
        file.write(b"changed")
    run(root, videos, KEPT, after("kept", "score", LOOSE, max_failed=1.0))
    rows = rows_of(store, "score")
    assert [key for key, row in rows.items() if row["error"]] == [victim["key"]]
    assert "are not the member" in rows[victim["key"]]["error"]
    (root / place.path).write_bytes(whole)
    garble_clips(store, root)
    assert not retry_root(str(root)).failed_units
    again = rows_of(store, "score")[victim["key"]]
    assert again["error"] is None
    assert again["seen_times_s"][0] == again["frames_times_s"][0]


def test_emitted_shards_carry_them(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    exts = [f"f{i:02d}.webp" for i in range(4)]
    train = {
        "name": "train",
        "from": "kept",
        "keep": ["len(frames_times_s) = frames_asked"],
        "emit": {"members": ["json", "mp4", *exts]},
    }
    store = run(root, videos, KEPT, train, after("train", "late", LOOSE))
    assert counts(store, "late") == (0, 5)
    (shard,) = (root / "train" / "shards").glob("*.tar")
    with tarfile.open(shard) as tar:
        found = {base_plus_ext(each.name): tar.extractfile(each).read() for each in tar}  # type: ignore[union-attr]
    keys = {key for key, _ in found}
    assert set(found) == {(key, ext) for key in keys for ext in ("json", "mp4", *exts)}
    assert len(keys) == 5
    for key in keys:
        assert open_dataset(str(root / "kept")).member(key, "f03.webp") == found[key, "f03.webp"]


def test_they_are_kept_once(videos: Path, tmp_path: Path) -> None:
    again = {"type": "frames", "num_frames": 4}
    rename = {name: f"{name}_2" for name in ("frames_times_s", "frames_asked", "frames_width", "frames_height")}
    twice = {"name": "twice", "from": "kept", "stages": [again], "rename": rename}
    with pytest.raises(ConfigError, match=r"members \.f00\.webp.*already"):
        run(tmp_path / "root", videos, KEPT, twice)
