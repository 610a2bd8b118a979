"""Stages that raise, lie, crash or hang cost only their clips; `on_error` says what becomes of those."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from support.bad_decoders import serve_badly
from support.fakes import Broken, Scored, Worded
from support.processes import temp_files
from support.runs import calls, make_config, rows_of, run_inline

from shardpipe.core.columns import Writes, float32, list_of, string
from shardpipe.core.errors import PassFailed
from shardpipe.core.fingerprint import sha256_hex
from shardpipe.core.report import RunReport
from shardpipe.core.stage import ClipView, Result, Stage
from shardpipe.engine.cutting import cut as cutting
from shardpipe.engine.passes import decoders
from shardpipe.executors import run as running
from shardpipe.executors.run import run_config
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.store import Store, open_store

AT_1 = "_00001000"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def score_with(root: Path, videos: Path, stages: list[Stage], **options: Any) -> tuple[RunReport, Store]:
    passes = [{"name": "score", "stages": stages, "max_failed": 1.0, **options}]
    store = open_store(str(root))
    return run_inline(make_config(root, videos, passes), store), store


def split(rows: Mapping[str, dict[str, Any]]) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """(rows of the clips that go wrong, the others)."""
    bad = {key: row for key, row in rows.items() if key.endswith(AT_1)}
    return bad, {key: row for key, row in rows.items() if key not in bad}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raise", "broken: RuntimeError: cannot do"),
        ("too few", "broken: gave 0 results for 1 clips"),
        ("error", "broken: I cannot score this"),
        ("nan", "broken: column fine: expected int64, got float nan"),
        ("wrong type", "broken: column fine: expected int64"),
    ],
)
def test_only_the_clips_that_go_wrong_are_lost(root: Path, videos: Path, how: str, message: str) -> None:
    report, store = score_with(root, videos, [Broken(how=how), Scored()])  # type: ignore[arg-type]
    assert not report.pending
    bad, good = split(rows_of(store, "score"))
    assert len(bad) == 2
    for row in bad.values():
        assert row["error"].startswith(message)
        assert (row["kept"], row["dropped_by"], row["fine"], row["score"]) == (False, "error: broken", None, None)
    assert all(row["kept"] and row["fine"] == 1 and row["error"] is None for row in good.values())
    assert set(calls("scored")) == set(good)


class Odd(Stage):
    """Gives for clips that start in second 1 what no column of its kind holds."""

    type: Literal["odd"] = "odd"
    what: str

    @property
    def writes(self) -> Writes:
        return {"number": float32, "words": list_of(string)}

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        if self.what == "undecodable" and any(view.key.endswith(AT_1) for view in batch):
            raise OSError("no file named \udcff")
        fine: Result = {"number": 0.5, "words": ["a"]}
        return [{**fine, **self._odd()} if view.key.endswith(AT_1) else fine for view in batch]

    def _odd(self) -> Result:
        odd: dict[str, Result] = {
            "too large": {"number": 1e39},
            "an array": {"number": np.zeros(2)},
            "a list in a list": {"words": [["a"]]},
            "half a character": {"words": ["\ud800"]},
            "a lazy one": {"words": (1 / 0 for _ in range(3))},
        }
        return odd[self.what]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("too large", "odd: column number: 1e+39 is too large for float32"),
        ("an array", "odd: column number: expected one float32, got an array of shape (2,)"),
        ("a list in a list", "odd: column words: expected string, got list"),
        ("half a character", "odd: column words: '\\ud800' is no valid Unicode text"),
        ("a lazy one", "odd: gave a result that cannot be read: ZeroDivisionError: division by zero"),
        ("undecodable", "odd: OSError: no file named \\udcff"),
    ],
)
def test_what_no_row_can_hold_costs_only_its_clips(root: Path, videos: Path, what: str, message: str) -> None:
    report, store = score_with(root, videos, [Odd(what=what)])
    assert not report.failed_units
    bad, good = split(rows_of(store, "score"))
    assert len(bad) == 2
    assert all(row["error"].startswith(message) and row["number"] is None for row in bad.values())
    assert all(row["kept"] and row["number"] == 0.5 for row in good.values())


class Scribbler(Scored):
    """Writes into the frames that it is shown."""

    type: Literal["scribbler"] = "scribbler"  # type: ignore[assignment]
    column: str = "scribbled"

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        for view in batch:
            view.frames.data[...] = 0
        return super().process(batch)


class Brightest(Scored):
    """The brightest pixel of the same frames."""

    type: Literal["brightest"] = "brightest"  # type: ignore[assignment]

    def process(self, batch: Sequence[ClipView]) -> Sequence[Result]:
        return [{"score": float(view.frames.data.max())} for view in batch]


def test_a_stage_cannot_change_what_the_others_see(root: Path, videos: Path) -> None:
    stages = [Scribbler(frames_wanted=True, on_error="keep"), Brightest(frames_wanted=True)]
    _, store = score_with(root, videos, stages)
    rows = rows_of(store, "score").values()
    assert all(row["score"] > 0 and "read-only" in row["error"] for row in rows)


def test_on_error_keep(root: Path, videos: Path) -> None:
    _, store = score_with(root, videos, [Broken(on_error="keep"), Scored()])
    bad, good = split(rows_of(store, "score"))
    for row in bad.values():
        assert row["kept"]
        assert row["fine"] is None
        assert row["score"] == 1.0
        assert row["error"].startswith("broken: RuntimeError")
    assert len(calls("scored")) == len(bad) + len(good)


def test_on_error_fail(root: Path, videos: Path) -> None:
    report, store = score_with(root, videos, [Broken(on_error="fail")])
    assert set(report.failed_units) == {"score/000000", "score/000001"}
    assert "on_error: fail" in report.failed_units["score/000000"]
    assert "score" in report.pending
    assert not RowsLog(store, "score").done()


def test_more_failures_than_allowed(root: Path, videos: Path) -> None:
    passes = [
        {"name": "score", "stages": [Broken()], "max_failed": 0.3},
        {"name": "train", "from": "score", "emit": "shards"},
    ]
    with pytest.raises(PassFailed, match="2 of 5 clips failed"):
        run_inline(make_config(root, videos, passes))
    store = open_store(str(root))
    assert len(RowsLog(store, "score").done()) == 2
    assert not store.list("train")
    passes[0]["max_failed"] = 0.5
    assert not run_inline(make_config(root, videos, passes)).pending


def test_failures_are_counted_before_windows_are_planned(root: Path, videos: Path) -> None:
    """A pass that emits in windows, and may miss units, plans nothing either."""
    train = {"name": "train", "stages": [Broken()], "emit": {"plan_units": 1, "allow_missing": 1}}
    with pytest.raises(PassFailed):
        run_inline(make_config(root, videos, [train]))
    assert not open_store(str(root)).list("train/plan")


@pytest.mark.parametrize(("how", "reason"), [("segfault", "died of SIGSEGV"), ("exit", "ended (exit 3)")])
def test_a_stage_that_kills_its_worker(root: Path, videos: Path, how: str, reason: str) -> None:
    bad, good = by_local_workers(root, videos, Broken(how=how, at_s=(1,)), Scored())  # type: ignore[arg-type]
    assert [row["error"] for row in bad.values()] == [f"broken: the worker {reason} on this clip"] * 2
    assert all(row["dropped_by"] == "error: broken" and row["score"] is None for row in bad.values())
    assert all(row["kept"] and row["fine"] == 1 and row["score"] is not None for row in good.values())


def test_a_stage_that_hangs(root: Path, videos: Path) -> None:
    """With `on_error: keep`, too: the clip goes on without this stage's columns."""
    bad, good = by_local_workers(root, videos, Broken(how="hang", on_error="keep"), Scored(), batch_timeout_s=2.0)
    assert [row["error"] for row in bad.values()] == [
        "broken: the worker took longer than its time-out on this clip"
    ] * 2
    assert all(row["kept"] and row["fine"] is None and row["score"] == 1.0 for row in bad.values())
    assert all(row["kept"] and row["fine"] == 1 for row in good.values())


def by_local_workers(root: Path, videos: Path, *stages: Stage, **execute: Any) -> Any:
    """Score clips, that are ready, in a worker process of its own."""
    run_inline(make_config(root, videos))
    config = make_config(
        root,
        videos,
        [{"name": "score", "stages": list(stages), "max_failed": 1.0}],
        execute={"type": "local", "workers": 1, "tries": 2, **execute},
    )
    report = run_config(config)
    assert not report.pending, report
    assert temp_files(root) == []
    return split(rows_of(open_store(str(root)), "score"))


def test_a_worker_that_cannot_be_set_up(root: Path, videos: Path) -> None:
    run_inline(make_config(root, videos))

    before = threading.active_count()
    config = make_config(root, videos, [{"name": "score", "stages": [Unready(frames_wanted=True)]}])
    with pytest.raises(RuntimeError, match="no weights"):
        run_inline(config)
    assert threading.active_count() == before


class Unready(Scored):
    """It cannot load its weights."""

    def setup(self, device: str) -> None:
        raise RuntimeError("no weights")


@pytest.mark.parametrize(
    ("what", "message"), [("segfault", "SIGSEGV"), ("raise", "a library said no"), ("hang", "more than 3 s")]
)
def test_a_decoder_that_goes_wrong(
    root: Path, videos: Path, monkeypatch: pytest.MonkeyPatch, what: str, message: str
) -> None:
    """Clips that begin after a second carry a box of bytes that does `what` to the process that decodes them."""
    real = cutting.cut_part

    def poisoned(*args: Any) -> Any:
        for row, file in real(*args):
            if file is not None and row["key"].endswith(AT_1):
                data = file.read_bytes() + b"\0\0\0\x18free" + f"!{what}".encode().rjust(16, b".")
                file.write_bytes(data)
                row |= {"sha256": sha256_hex(data), "num_bytes": len(data)}
            yield row, file

    monkeypatch.setattr(cutting, "cut_part", poisoned)
    monkeypatch.setattr(decoders, "serve", serve_badly)
    monkeypatch.setattr(running, "num_decoders", lambda *_: 1)
    passes = [{"name": "score", "stages": [Scored(frames_wanted=True), Worded()], "max_failed": 1.0}]
    execute = {"type": "inline", "clip_timeout_s": 3.0}
    store = open_store(str(root))
    run_inline(make_config(root, videos, passes, execute=execute), store)
    bad, good = split(rows_of(store, "score"))
    assert len(bad) == 2
    assert all(message in row["error"] and row["dropped_by"] == "error: scored" for row in bad.values())
    assert all(row["kept"] and row["score"] is not None and row["text"] for row in good.values())
