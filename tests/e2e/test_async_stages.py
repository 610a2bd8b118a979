"""AsyncStages in passes: many clips in flight, over units; each row its own answer; what goes wrong costs only its clip."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from support.fakes import CALLS, Scored
from support.later import OPENED, Later
from support.numbered import make_numbered
from support.planted import committed_rows
from support.runs import SIZE, calls, make_config, rows_of, run_inline, snapshot

from shardpipe.core.errors import UnitError
from shardpipe.core.stage import Stage
from shardpipe.engine.timings import read_timings, total
from shardpipe.executors.run import run_config
from shardpipe.storage.store import Store, open_store


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six videos of four clips each: six units of small shards."""
    folder = tmp_path_factory.mktemp("many")
    options = {"g": "12", "bf": "0", "preset": "ultrafast"}
    for i in range(6):
        make_numbered(folder / f"v{i}.mp4", num_frames=48, fps=Fraction(12), size=SIZE, options=options)
    return folder


@pytest.fixture(autouse=True)
def _nothing_open() -> None:
    OPENED.clear()


def run(root: Path, videos: Path, stages: list[Stage], **options: Any) -> Store:
    store = open_store(str(root))
    passes = [{"name": "text", "stages": stages, "max_failed": 1.0, "unit_clips": 4, **options}]
    assert not run_inline(make_config(root, videos, passes), store).pending
    return store


@pytest.mark.parametrize("frames_wanted", [False, True])
def test_each_clip_has_its_own_answer(tmp_path: Path, many: Path, *, frames_wanted: bool) -> None:
    later = Later(frames_wanted=frames_wanted, wait_s=0.05, in_flight=6)
    store = run(tmp_path, many, [later, Scored(frames_wanted=frames_wanted)], keep=["later >= 1000"])
    rows = rows_of(store, "text")
    assert len(rows) == 24
    for key, row in rows.items():
        start = int(key.rsplit("_", 1)[1])
        assert (row["later"], row["later_seen"]) == (start, int(frames_wanted))
        assert row["kept"] == (start >= 1000)
        assert row["score"] == (start / 1000 if row["kept"] else None)
    assert sorted(calls("later")) == sorted(rows)
    (pool,) = OPENED
    assert pool.is_closed
    assert pool.most_in == 6


def test_the_engine_never_waits_between_units(tmp_path: Path, many: Path) -> None:
    """More clips in flight than two units have: as many units are begun as that takes."""
    store = run(tmp_path, many, [Later(wait_s=0.2, in_flight=16)])
    assert OPENED[0].most_in == 16
    timings = read_timings(store, "text", "rows")
    assert len(timings) == 6
    assert total(timings).num_idle == 0


def test_units_that_are_too_small_for_the_engine_are_told(tmp_path: Path, many: Path) -> None:
    """`num_idle` counts: rows of one unit at a time, whose clips all wait for one another."""
    run(tmp_path, many, [])  # warm: clips are cut
    store = open_store(str(tmp_path))
    config = make_config(tmp_path, many, [{"name": "slow", "stages": [Later(in_flight=1)], "unit_clips": 1}])
    run_inline(config, store)
    assert total(read_timings(store, "slow", "rows")).num_idle > 0


def test_stages_of_one_engine_share_it(tmp_path: Path, many: Path) -> None:
    stages = [Later(in_flight=3), Later(column="more", in_flight=9), Later(column="other", pool="two")]
    store = run(tmp_path, many, stages)
    assert len(OPENED) == 2
    assert all(row["later"] == row["more"] == row["other"] for row in rows_of(store, "text").values())


@pytest.mark.parametrize(
    ("how", "message"), [("raise", "RuntimeError: not this one"), ("error", "no answer"), ("future", "RuntimeError: broke off")]
)  # fmt: skip
def test_what_goes_wrong_costs_its_clip(tmp_path: Path, many: Path, how: str, message: str) -> None:
    store = run(tmp_path, many, [Later(how=how), Scored()])
    rows = rows_of(store, "text")
    bad = {key: row for key, row in rows.items() if key.endswith("_00001000")}
    assert len(bad) == 6
    assert {row["error"] for row in bad.values()} == {f"later: {message}"}
    assert all(row["later"] is not None for key, row in rows.items() if key not in bad)


def test_a_clip_that_cannot_be_decoded_is_not_sent(tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from shardpipe.core.errors import MediaError
    from shardpipe.engine.passes import decodechild

    def frames(self: Any, *_: Any) -> Any:
        raise MediaError("no picture")

    monkeypatch.setattr(decodechild.Media, "frames", frames)
    store = run(tmp_path, many, [Later(frames_wanted=True)])
    assert {row["error"] for row in rows_of(store, "text").values()} == {"later: no picture"}
    assert not calls("later")


@pytest.mark.parametrize(
    ("how", "message"), [("gone", "the engine is gone"), ("misset", "the engine has no such setting")]
)
def test_an_engine_that_is_gone_ends_its_units_without_a_row(
    tmp_path: Path, many: Path, how: str, message: str
) -> None:
    store = open_store(str(tmp_path))
    passes = [{"name": "text", "stages": [Later(how=how, at_ms=3000)], "unit_clips": 4}]
    report = run_inline(make_config(tmp_path, many, passes), store)
    assert len(report.failed_units) == 6
    assert all(message in why for why in report.failed_units.values())
    assert not store.list("text/rows")


def test_a_worker_whose_engine_is_gone_is_replaced(tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would fail all units, one quickly after the other."""
    monkeypatch.setenv("FAKE_KILLED", str(tmp_path / "gone"))
    root = tmp_path / "root"
    passes = [{"name": "text", "stages": [Later(how="gone once", wait_s=0.05)], "unit_clips": 2}]
    report = run_config(make_config(root, many, passes, execute={"type": "local", "workers": 1}))
    assert (tmp_path / "gone").exists()
    assert not report.failed_units
    rows = rows_of(open_store(str(root)), "text")
    assert {key: row["later"] for key, row in rows.items()} == {key: int(key.rsplit("_", 1)[1]) for key in rows}


@pytest.mark.parametrize("tries", [1, 2])
def test_a_run_whose_engines_all_go_ends(
    tmp_path: Path, many: Path, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CALLS", str(tmp_path / "calls"))
    root = tmp_path / "root"
    run_inline(make_config(root, many))
    passes = [{"name": "text", "stages": [Later(how="gone", at_ms=0, in_flight=1)], "unit_clips": 4}]
    with pytest.raises(UnitError, match="text: the engine is gone"):
        run_config(make_config(root, many, passes, execute={"type": "local", "workers": 1, "tries": tries}))
    assert len((tmp_path / "calls").read_text().split("\n")) <= 1 + 4 * tries
    assert not [row for row in committed_rows(root, "text").values() if row["error"]]


def test_workers_that_die_cost_the_clip_that_kills_them(
    tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CALLS", str(tmp_path / "calls"))
    passes = [{"name": "text", "stages": [Later(how="kill", at_ms=2000, wait_s=0.05)], "max_failed": 1.0}]
    root = tmp_path / "root"
    config = make_config(root, many, passes, execute={"type": "local", "tries": 2})
    run_inline(make_config(root, many))
    assert not run_config(config).pending
    for key, row in rows_of(open_store(str(root)), "text").items():
        if key.endswith("_00002000"):
            assert row["error"] == "later: the worker died of SIGKILL on this clip"
        else:
            assert row["error"] is None


def test_rows_are_those_of_a_run_without_a_crash(tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_KILLED", str(tmp_path / "killed"))
    passes = [{"name": "text", "stages": [Later(how="kill once", in_flight=9), Scored()], "unit_clips": 4}]
    for name in ("crashed", "whole"):
        root = tmp_path / name
        run_config(make_config(root, many, passes, execute={"type": "local"}))
    assert (tmp_path / "killed").exists()
    crashed, whole = (snapshot(open_store(str(tmp_path / name))) for name in ("crashed", "whole"))
    CALLS.clear()
    assert {path: data for path, data in crashed.items() if path.startswith("text/rows")} == {
        path: data for path, data in whole.items() if path.startswith("text/rows")
    }
