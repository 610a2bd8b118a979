"""How many cores a run takes for its own."""

import os
from pathlib import Path

import pytest

from shardpipe.executors import placing


@pytest.mark.parametrize(
    ("text", "cores"),
    [("max 100000", None), ("100000 100000", 1), ("150000 100000", 2), ("5000 100000", 1), ("garbage", None)],
)
def test_a_containers_quota_counts(
    text: str, cores: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(text + "\n", encoding="ascii")
    monkeypatch.setattr(placing, "CPU_MAX", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    assert placing.num_cores() == (4 if cores is None else cores)


def test_without_a_quota_all_bound_cores_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "CPU_MAX", tmp_path / "absent")
    assert placing.num_cores() == len(os.sched_getaffinity(0))
