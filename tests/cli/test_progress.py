"""Progress: what is counted, and how it is told."""

import pytest

from shardpipe.cli.meter import Meter
from shardpipe.cli.progress import Live, describe, showing_progress
from shardpipe.core.work import Outcome

HALF = Outcome("000001", num_seen=10, num_kept=5, num_dropped=5, num_failed=1)


def test_meter_counts_what_was_done_since_it_began() -> None:
    meter = Meter("score", "rows", num_units=12, num_before=4, started_s=100.0)
    assert meter.eta_s(101.0) is None
    assert meter.keep_rate is None
    meter.unit(HALF)
    meter.unit(HALF)
    meter.clips(30)
    assert describe(meter, 110.0) == "6/12 units, 3.0 clips/s, 50% kept, 2 clips failed, 0:30 left"
    meter.unit(Outcome("000003", error="died"))
    assert describe(meter, 110.0).endswith("1 units failed, 0:25 left")


def test_emit_counts_shards() -> None:
    meter = Meter("train", "emit", num_units=2, num_before=0, started_s=0.0)
    meter.unit(Outcome("000000", num_seen=3, num_kept=3))
    assert (meter.title, describe(meter, 5.0)) == ("train: emit", "1/2 shards, 0:05 left")


def test_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress() as progress:
        progress.phase("score", "rows", num_units=2, num_done=0)
        progress.unit(HALF)
        progress.clips(3)
        progress.unit(Outcome("000002", error="worker died"))
        progress.note("a worker was replaced")
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.splitlines()[:3] == [
        "score: 2 to do",
        "score: unit 000002 failed: worker died",
        "a worker was replaced",
    ]
    assert "1/2 units" in found.err.splitlines()[3]


def test_live_display() -> None:
    import io

    from rich.console import Console

    shown = io.StringIO()
    live = Live(Console(file=shown, force_terminal=True, width=120))
    live.start()
    live.phase("score", "rows", num_units=2, num_done=1)
    live.unit(HALF)
    live.clips(4)
    live.note("[bold]a note[/bold] as it is")
    live.phase("train", "emit", num_units=0, num_done=0)
    live.unit(Outcome("000001", error="no room"))
    live.stop()
    text = shown.getvalue()
    assert "2/2 units" in text
    assert "[bold]a note[/bold] as it is" in text
    assert "train: emit: unit 000001 failed: no room" in text
