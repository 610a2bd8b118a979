"""What units took: written, read back, added up."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from shardpipe.core.work import Outcome, Usage
from shardpipe.engine.timings import Timing, TimingLog, clips_per_s, read_timings, total
from shardpipe.storage.crashing import RecordingStore
from shardpipe.storage.store import open_store


def note(log: TimingLog, starts_s: Mapping[str, float], usage: Usage) -> None:
    """Units of 10 clips that took 2 seconds each."""
    for unit, started_s in starts_s.items():
        log.add(Outcome(unit, num_seen=10, usage=usage), started_s=started_s, ended_s=started_s + 2)
    log.flush()


def test_round_trip_and_sum(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    usage = Usage(wall_s=2.0, cpu_s=1.5, bytes_read=100, requests=4)
    note(TimingLog(store, "score", "rows"), {"000000": 50.0, "000001": 101.0}, usage)
    note(TimingLog(store, "score", "rows"), {"000000": 100.0, "000002": 102.0}, usage)  # another driver, later
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


def test_few_objects_hold_many_units(tmp_path: Path) -> None:
    """What is noted is there after some seconds, not at once; a full object is left, and another one begun."""
    store, now_s = RecordingStore(open_store(str(tmp_path))), [0.0]
    log = TimingLog(store, "score", "rows", clock=lambda: now_s[0])
    for i in range(2500):
        log.add(Outcome(f"{i:06d}"), started_s=0, ended_s=1)
    assert len(read_timings(store, "score", "rows")) == 2000
    now_s[0] = 11
    log.add(Outcome("002500"), started_s=0, ended_s=1)
    assert len(read_timings(store, "score", "rows")) == 2501
    log.flush()
    assert [each.name for each in store.operations].count("replace") == len(store.list("_run/score/rows")) == 3
