"""Units of `cut`: a video that goes wrong is an error row, a machine that goes wrong fails the unit, and hangs have an end."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.runs import make_config, render_videos, rows_of, run_inline

from shardpipe.core.errors import MediaError
from shardpipe.core.work import UnitJob
from shardpipe.engine.cutting import cut as cutting
from shardpipe.engine.cutting.batches import parts_of, read_batches
from shardpipe.engine.prepare import cut_task, prepare
from shardpipe.engine.worker import JobList, NoWatch
from shardpipe.storage.store import Store, open_store


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_videos(tmp_path_factory.mktemp("videos"), seconds=(2, 2))


def after_one_clip(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cutting `v0.mp4` raises `error` after its first clip."""
    real = cutting.cut_part

    def failing(media: Any, url: str, *rest: Any) -> Iterator[Any]:
        for i, found in enumerate(real(media, url, *rest)):
            if i and url.endswith("v0.mp4"):
                raise error
            yield found

    monkeypatch.setattr(cutting, "cut_part", failing)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MediaError("damaged"), "damaged"),
        (OSError(errno.EIO, "bad sector"), "bad sector"),
        (ValueError("odd"), "ValueError: odd"),
    ],
)
def test_a_video_that_goes_wrong(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, text: str
) -> None:
    after_one_clip(error, monkeypatch)
    run_inline(make_config(tmp_path / "root", videos))
    rows = rows_of(open_store(str(tmp_path / "root")), "clips").values()
    assert [text in row["error"] for row in rows if row["error"]] == [True]
    assert sum(row["kept"] for row in rows) == 3


def test_a_full_disk(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no fault of the video: nothing is committed of its unit."""
    with monkeypatch.context() as patch:
        after_one_clip(OSError(errno.ENOSPC, "no space left"), patch)
        report = run_inline(make_config(tmp_path / "root", videos))
    assert set(report.failed_units) == {"clips/000000"}
    assert "v0.mp4 was not cut, which is no fault of its own: " in report.failed_units["clips/000000"]
    store = open_store(str(tmp_path / "root"))
    assert len(store.list("clips/rows")) == 1
    assert not run_inline(make_config(tmp_path / "root", videos)).pending
    assert all(row["kept"] for row in rows_of(store, "clips").values())


class Noted(NoWatch):
    def __init__(self) -> None:
        self.timeouts: list[float] = []

    def begin(self, unit: str, what: str, keys: Any, timeout_s: float) -> None:
        self.timeouts.append(timeout_s)


def cut_unit(store: Store, config: Any, job: UnitJob) -> Noted:
    watch = Noted()
    worker = cut_task(prepare(store, config), config).make(store, "cpu", watch)
    (outcome,) = worker.run(JobList([job]))
    assert outcome.error is None
    return watch


def test_poison_and_time_outs(videos: Path, tmp_path: Path) -> None:
    """A video that killed its workers is not touched again; the time that a part may take follows from its size and length."""
    config = make_config(tmp_path / "root", videos)
    run_inline(config)
    store = open_store(config.root)
    for path in store.list("clips/rows"):
        store.delete(path)
    watch = cut_unit(store, config, UnitJob("000000"))
    assert watch.timeouts == [pytest.approx(120, abs=1), pytest.approx(120 + 60 * 2, abs=1)]
    (part,) = parts_of(read_batches(store, "clips"), "000001")
    watch = cut_unit(store, config, UnitJob("000001", poisoned={part["url"]: "cut: the worker died"}))
    assert watch.timeouts == []
    rows = rows_of(store, "clips")
    assert [row["error"] for row in rows.values() if row["source"] == part["url"]] == ["cut: the worker died"]
