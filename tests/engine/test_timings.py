"""What units took: written, read back, added up."""

from pathlib import Path

import pytest

from shardpipe.core.work import Outcome, Usage
from shardpipe.engine.timings import Timing, clips_per_s, read_timings, record_timing, total
from shardpipe.storage.store import open_store


def test_round_trip_and_sum(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for i in range(3):
        usage = Usage(wall_s=2.0, cpu_s=1.5, bytes_read=100, requests=4)
        outcome = Outcome(f"00000{i}", num_seen=10, usage=usage)
        record_timing(store, "score", "rows", outcome=outcome, started_s=100.0 + i, ended_s=102.0 + i)
    (tmp_path / "_run/score/rows/notes.txt").write_text("not a timing")
    timings = read_timings(store, "score", "rows")
    assert total(timings) == Usage(wall_s=6.0, cpu_s=4.5, bytes_read=300, requests=12)
    assert clips_per_s(timings) == pytest.approx(30 / 4)
    assert read_timings(store, "score", "emit") == []


def test_rate_is_that_of_the_last_half_hour() -> None:
    old = Timing(num_clips=1000, started_s=0.0, ended_s=10.0)
    new = Timing(num_clips=10, started_s=10_000.0, ended_s=10_010.0)
    assert clips_per_s([old, new]) == pytest.approx(1.0)
    assert clips_per_s([]) is None
    assert clips_per_s([Timing(num_clips=1, started_s=5.0, ended_s=5.0)]) is None
