"""The executor for one machine: what it does about workers that die."""

from pathlib import Path

import pytest
from support.dying_task import DyingTask

from shardpipe.core.errors import UnitError
from shardpipe.core.work import Silent, UnitJob
from shardpipe.executors.local import LocalExecutor, LocalSettings


def done(tmp_path: Path, *at_setup: int) -> list[str]:
    (tmp_path / "started").mkdir()
    executor = LocalExecutor(str(tmp_path / "root"), LocalSettings(num_workers=1))
    jobs = [UnitJob(f"{i:06d}") for i in range(4)]
    outcomes = executor.run(DyingTask(str(tmp_path / "started"), at_setup), jobs, Silent())
    return [outcome.unit for outcome in outcomes if outcome.error is None]


def test_workers_that_die_at_set_up_now_and_then(tmp_path: Path) -> None:
    """Three in all, but never three in a row: a long run survives."""
    assert done(tmp_path, 1, 3, 5) == [f"{i:06d}" for i in range(4)]


def test_workers_that_always_die_at_set_up(tmp_path: Path) -> None:
    with pytest.raises(UnitError, match=r"end while they are set up \(ended \(exit 3\)\)"):
        done(tmp_path, *range(1, 9))
