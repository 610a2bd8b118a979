"""What changes behind a run's back: clips cut anew, sources replaced or gone, a second config on the same root, damage."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.fakes import Scored
from support.processes import marked_run
from support.runs import make_config, rows_of, run_inline, snapshot

from shardpipe.core.errors import ConfigError, IntegrityError
from shardpipe.engine.verifying.verify import verify
from shardpipe.executors.plan import plan_config
from shardpipe.storage.crashing import Crash, CrashingStore, HookedStore
from shardpipe.storage.store import Store, open_store

PASSES: list[Mapping[str, Any]] = [
    {"name": "score", "stages": [Scored(frames_wanted=True)], "max_failed": 1.0},
    {"name": "train", "from": "score", "emit": "shards", "shard_bytes": 20_000},
]


@pytest.fixture
def own(videos: Path, tmp_path: Path) -> Path:
    """The videos in a folder that this test may change."""
    return Path(shutil.copytree(videos, tmp_path / "own"))


def test_clips_cut_anew_with_another_threshold(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    run_inline(make_config(root, videos, PASSES))
    store = open_store(str(root))
    with pytest.raises(ConfigError, match=r"every_s: 1\S* -> 1\.5|every_s"):
        run_inline(make_config(root, videos, PASSES, every_s=1.5))
    shutil.rmtree(root / "clips")
    before = snapshot(store)
    with pytest.raises(ConfigError, match="score was made by another configuration"):
        run_inline(make_config(root, videos, PASSES, every_s=1.5))
    assert snapshot(store) == before
    run_inline(make_config(root, videos, every_s=1.5))  # cut alone is possible
    for only in (None, "score", "train"):
        with pytest.raises(ConfigError, match="score was made by another configuration"):
            run_inline(make_config(root, videos, PASSES, every_s=1.5), only=only)
    assert {path: data for path, data in snapshot(store).items() if not path.startswith("clips/")} == before


def test_clips_cut_anew_to_other_bytes_under_emitted_shards(own: Path, tmp_path: Path) -> None:
    """The config is the same, and clips are not: a pass whose shards are planned refuses, one of rows does its units again."""
    root = tmp_path / "root"
    config = make_config(root, own, PASSES)
    assert not run_inline(config).pending
    store = open_store(str(root))
    emitted = {path: data for path, data in snapshot(store).items() if path.startswith("train/")}
    shutil.rmtree(root / "clips")
    assert not run_inline(config).pending  # the same bytes again
    shutil.rmtree(root / "clips")
    shutil.copyfile(own / "v1.mp4", own / "v0.mp4")
    for call in (run_inline, run_inline, plan_config):
        with pytest.raises(
            IntegrityError, match=r"clips/rows/000000\.parquet is not what.*shards of train.*remove .*/train "
        ):
            call(config)
    assert {path: data for path, data in snapshot(store).items() if path.startswith("train/")} == emitted
    shutil.rmtree(root / "train")
    assert not run_inline(config).pending
    assert not verify(str(root)).problems


def cut_after(own: Path, root: Path, change: Any) -> Store:
    """A run that lists its sources and dies; then `change`, then another run."""
    config = make_config(root, own)
    with pytest.raises(Crash):
        run_inline(config, CrashingStore(open_store(str(root)), 1, "after", writes_only=True))
    assert open_store(str(root)).size("clips/sources/0000.parquet")
    change()
    report = run_inline(config)
    assert not report.pending
    return open_store(str(root))


def by_source(store: Store) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows_of(store, "clips").values():
        found.setdefault(Path(row["source"]).name, []).append(row)
    return found


@pytest.mark.parametrize(
    ("how", "message"), [("replaced", "was replaced since it was listed"), ("touched", "replaced"), ("gone", "v0.mp4")]
)
def test_a_source_that_changes_after_it_was_listed(own: Path, tmp_path: Path, how: str, message: str) -> None:
    def change() -> None:
        if how == "replaced":
            shutil.copyfile(own / "v1.mp4", own / "v0.mp4")
        elif how == "touched":
            os.utime(own / "v0.mp4", (1, 1))
        else:
            (own / "v0.mp4").unlink()

    rows = by_source(cut_after(own, tmp_path / "root", change))
    (bad,) = rows["v0.mp4"]
    assert message in bad["error"]
    assert not bad["kept"]
    assert len(rows["v1.mp4"]) == 2
    assert all(row["kept"] for row in rows["v1.mp4"])


@pytest.mark.parametrize("how", ["the link", "the file behind it"])
def test_a_link_that_points_elsewhere(own: Path, tmp_path: Path, how: str) -> None:
    """Also where the file behind it has the same size, and only that file's own time tells."""
    real, other = tmp_path / "a.bin", tmp_path / "b.bin"
    shutil.move(own / "v0.mp4", real)
    data = bytearray(real.read_bytes())
    data[-1] ^= 1
    other.write_bytes(data)
    os.utime(other, (2, 2))
    (own / "v0.mp4").symlink_to(real)

    def change() -> None:
        if how == "the link":
            (own / "v0.mp4").unlink()
            (own / "v0.mp4").symlink_to(other)
        else:
            real.write_bytes(data)
            os.utime(real, (1, 1))

    (bad,) = by_source(cut_after(own, tmp_path / "root", change))["v0.mp4"]
    assert "was replaced since it was listed" in bad["error"]


def test_a_link_is_read_as_the_file_behind_it(own: Path, tmp_path: Path) -> None:
    shutil.move(own / "v0.mp4", tmp_path / "a.bin")
    os.utime(tmp_path / "a.bin", (1, 1))
    (own / "v0.mp4").symlink_to(tmp_path / "a.bin")
    (own / "v1.mp4").unlink()
    (own / "v1.mp4").symlink_to(tmp_path / "gone.bin")
    os.mkfifo(own / "v2.mp4")
    run_inline(make_config(tmp_path / "root", own))
    rows = by_source(open_store(str(tmp_path / "root")))
    assert [row["error"] for row in rows["v0.mp4"]] == [None] * 3
    assert "cannot open" in rows["v1.mp4"][0]["error"]
    assert "is no file" in rows["v2.mp4"][0]["error"]


def test_a_source_that_is_added_later_waits_to_be_asked_for(own: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    run_inline(make_config(root, own, PASSES))
    store = open_store(str(root))
    before = snapshot(store)
    shutil.copyfile(own / "v1.mp4", own / "v2.mp4")
    run_inline(make_config(root, own, PASSES))
    assert snapshot(store) == before
    run_inline(make_config(root, own, PASSES), add_sources=f"file://{own}/../own/")  # by whatever name
    after = snapshot(store)
    assert {path: data for path, data in after.items() if path in before} == before
    assert {name: len(rows) for name, rows in by_source(store).items()} == {"v0.mp4": 3, "v1.mp4": 2, "v2.mp4": 2}


def test_two_configs_race_for_a_root(videos: Path, tmp_path: Path) -> None:
    """Whoever creates `dataset.json` first wins, at whatever moment; the other changes nothing."""
    ours = make_config(tmp_path / "root", videos)
    theirs = make_config(tmp_path / "root", videos, every_s=1.5)
    store = open_store(ours.root)
    states: list[dict[str, bytes]] = []

    def other(n: int, name: str, path: str) -> None:
        if name == "create" and not states:
            run_inline(theirs)
            states.append(snapshot(store))

    with pytest.raises(ConfigError, match="another configuration"):
        run_inline(ours, HookedStore(store, other))
    assert [snapshot(store)] == states


def test_two_configs_race_as_processes(own: Path, tmp_path: Path) -> None:
    (own / "v0.mp4").unlink()
    paths = []
    for every_s in (1.0, 1.5):
        config = {"root": str(tmp_path / "root"), "execute": {"type": "inline"}}
        config["cut"] = {"sources": str(own), "scenes": {"type": "fixed", "every_s": every_s}}  # type: ignore[assignment]
        paths.append(tmp_path / f"{every_s}.yaml")
        paths[-1].write_text(yaml.safe_dump(config), encoding="utf-8")
    with marked_run("run", str(paths[0])) as one, marked_run("run", str(paths[1])) as two:
        ended = [one.wait(), two.wait()]
    assert sorted(code for code, _, _ in ended) == [0, 2]
    (loser,) = [err for code, _, err in ended if code == 2]
    assert "was made by another configuration" in loser
    assert "every_s" in loser
    assert "Traceback" not in loser


def flip(root: Path, row: Mapping[str, Any]) -> None:
    """Change one byte inside a clip."""
    with (root / row["shard"]).open("r+b") as file:
        at = row["offset"] + row["size"] // 2
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


def test_a_byte_that_flips_before_scoring(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    run_inline(make_config(root, videos))
    store = open_store(str(root))
    key, row = sorted(rows_of(store, "clips").items())[1]
    flip(root, row)
    assert not run_inline(make_config(root, videos, PASSES)).pending
    rows = rows_of(store, "train")
    assert rows[key]["dropped_by"] == "error: scored"
    assert "sha256" in rows[key]["error"]
    assert sum(row["kept"] for row in rows.values()) == len(rows) - 1
    tars = b"".join(data for path, data in snapshot(store).items() if path.startswith("train/shards"))
    assert key.encode() not in tars


@pytest.mark.parametrize("how", ["flipped", "cut short", "gone"])
def test_a_tar_that_is_damaged_before_emit(videos: Path, tmp_path: Path, how: str) -> None:
    root = tmp_path / "root"
    run_inline(make_config(root, videos, PASSES[:1]))
    store = open_store(str(root))
    rows = rows_of(store, "clips")
    key, row = max(rows.items())
    good = (root / row["shard"]).read_bytes()
    if how == "flipped":
        flip(root, row)
    elif how == "cut short":
        os.truncate(root / row["shard"], row["offset"] + row["size"] - 1)
    else:
        (root / row["shard"]).unlink()
    report = run_inline(make_config(root, videos, PASSES))
    assert "train" in report.pending
    (error,) = report.failed_units.values()
    named = [other for other in rows if rows[other]["shard"] == row["shard"]] if how == "gone" else [key]
    assert any(name in error for name in named)
    assert "Restore that object" in error
    assert store.size("train/index.parquet") is None
    tars = b"".join(data for path, data in snapshot(store).items() if path.startswith("train/shards"))
    assert key.encode() not in tars
    (root / row["shard"]).write_bytes(good)
    assert not run_inline(make_config(root, videos, PASSES)).pending
    assert store.size("train/index.parquet")
