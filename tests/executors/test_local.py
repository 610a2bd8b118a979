"""The executor for one machine: what it does about workers that die."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

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


def flying(unit: str, key: str, *, beside: str) -> Any:
    """A worker with a clip of this unit in flight, and one of another."""
    return SimpleNamespace(sent={(unit, key): "caption", (beside, "x"): "caption"}, at=None)


def test_clips_in_flight_are_run_alone_only_after_a_second_death() -> None:
    executor = LocalExecutor("unused", LocalSettings(1, tries=3))
    job = UnitJob("000000")

    def died(job: UnitJob, *sent: str, at: str | None = None) -> UnitJob:
        worker: Any = SimpleNamespace(sent={(job.name, key): "caption" for key in sent}, at=None)
        worker.at = at and (job.name, "match", [at])
        blamed = executor._blame(job, worker, "died of SIGKILL")
        assert blamed is not None
        return blamed

    job = died(job, "a", "b", "c", at="d")
    assert job.suspects == {"d"}
    job = died(job, "b", "e")
    assert job.suspects == {"b", "d"}
    other = executor._blame(UnitJob("000001"), flying("000001", "z", beside="000002"), "died")
    other = executor._blame(other, flying("000001", "z", beside="000002"), "died")
    other = executor._blame(other, flying("000001", "y", beside="000002"), "died")
    assert other is not None
    assert (other.suspects, other.poisoned) == ({"z"}, {})
    job = died(job, "b")
    assert job.poisoned == {"b": "caption: the worker died of SIGKILL on this clip"}
