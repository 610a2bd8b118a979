"""What commands ask of a store for a root of many units: few listings, no object twice, and next to nothing where a run was before."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import large_commands
from support.large_commands import measure
from support.large_root import large_store, make_large
from support.slow_store import SlowStore

NUM = 2000
READS = 30
"""What is read beside rows: dataset.json several times, sources, plan, index, summaries."""
LISTS = 50


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "root.pack"
    make_large(path, NUM)
    return path


@pytest.fixture
def over(tmp_path: Path) -> Iterator[Path]:
    return tmp_path / "over"


TOLD: dict[str, dict[float, Any]] = {
    "status": {
        0: {"clips": [NUM, 2 * NUM, True], "score": [NUM, 2 * NUM, True], "train": [NUM, NUM, True]},
        0.01: {"clips": [NUM, 2 * NUM, True], "score": [1980, 2 * 1980, False]},
    },
    "plan": {
        0: {"score/rows": [NUM, NUM], "train/rows": [NUM, NUM], "train/emit": [50, 50]},
        0.01: {"score/rows": [NUM, 1980], "train/rows": [NUM, 0], "train/emit": [None, None]},
    },
    "run": {
        0: {"jobs": 0, "complete": ["clips", "score", "train"]},
        0.01: {"jobs": 20 + 1980, "complete": ["clips", "score"]},
    },
}


NUM_ROWS = {
    "status": {0: 3 * NUM, 0.01: NUM + 1980},
    "plan": {0: 3 * NUM, 0.01: 2 * 1980},
    "run": {0: 3 * NUM, 0.01: 2 * 1980},
}
"""How many rows objects must be looked at: a unit of which nothing is done needs no look."""


@pytest.mark.parametrize("left", [0, 0.01])
@pytest.mark.parametrize("command", TOLD)
def test_each_rows_object_is_read_once_and_not_at_all_after_a_run(
    pack: Path, over: Path, command: str, left: float
) -> None:
    num_rows = NUM_ROWS[command][left]
    for expected in (num_rows, num_rows if command != "run" else 0):  # what only looks leaves nothing behind
        store = SlowStore(large_store(pack, over, left=left), request_s=0)
        found = measure(command, store)
        assert found["told"] == TOLD[command][left]
        assert found["reads"] == (1 if expected else 0)
        assert expected <= found["requests"]["read"] <= expected + READS
        assert found["requests"]["list"] <= 3 * NUM // 1000 + LISTS
    assert over.exists() == (command == "run")
    measure("run", SlowStore(large_store(pack, over, left=left), request_s=0))
    after = measure(command, SlowStore(large_store(pack, over, left=left), request_s=0))
    assert TOLD[command][left].items() <= after["told"].items()
    assert after["requests"]["read"] <= READS + left * NUM  # those of `clips` that are to do were not looked at yet


def test_many_objects_are_read_at_once(pack: Path, over: Path) -> None:
    store = SlowStore(large_store(pack, over), request_s=0.02)
    measure("status", store)
    assert store.in_flight > 64


def measured(pack: Path, over: Path, command: str, left: float) -> dict[str, Any]:
    """A command in a process of its own."""
    words = [sys.executable, large_commands.__file__, str(pack), str(over), str(left), command]
    path = [str(Path(large_commands.__file__).parents[1]), *sys.path]
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True, env={"PYTHONPATH": ":".join(path)})
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("left", [0, 0.01])
def test_a_hundred_thousand_units_take_less_than_a_minute_and_a_gigabyte(tmp_path: Path, left: float) -> None:
    """Before any run left a summary, and after: 20 ms a request. Beside other work on the machine, seconds of its cores count."""
    make_large(tmp_path / "root.pack", 100_000)
    for command in ("status", "plan", "run", "status", "plan", "run"):
        is_busy = os.getloadavg()[0] > 1.5
        took = measured(tmp_path / "root.pack", tmp_path / "over", command, left)
        assert took["reads"] <= 1
        assert took["cpu_s" if is_busy else "wall_s"] < 60, (command, took)
        assert took["peak_mb"] < 1000, (command, took)
