"""Captions by a server that fails: every clip ends with its own caption or with its error, once, whatever the server does.

Whole passes with the real client, in worker processes. Each frame has a number of its own, and the server says those that it saw:
an answer at another clip shows. `slow`: 200 clips in 8 units.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.openai_server import ChildServer, Plan
from support.planted import asked_keys, asking, captioning, check_pairing, copy_of, cut_root
from support.runs import make_config

from shardpipe.executors.run import run_config
from shardpipe.storage.store import Store, open_store

ALONE = {
    "429": {"429": 0.2},
    "500": {"500": 0.2},
    "hang": {"hang": 0.1},
    "broken json": {"broken json": 0.2},
    "half": {"half": 0.2},
    "closed": {"closed": 0.2},
}
MIXED = {
    "429": 0.1,
    "500": 0.1,
    "503": 0.03,
    "hang": 0.04,
    "broken json": 0.04,
    "half": 0.04,
    "closed": 0.04,
    "html": 0.02,
}


@dataclass(frozen=True)
class Cut:
    """A root whose clips are cut, and how large the slices of its passes are."""

    root: Path
    unit_clips: int
    workers: int

    def run(self, root: Path, *passes: dict[str, Any], **execute: Any) -> Store:
        """Run these passes on it in worker processes."""
        made = [{"max_failed": 1.0, "unit_clips": self.unit_clips, **each} for each in passes]
        settings = {"type": "local", "workers": self.workers, "decoders": 1, **execute}
        report = run_config(make_config(root, self.root.parent / "videos", made, execute=settings))
        assert not report.failed_units
        assert not report.pending
        return open_store(str(root))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Cut:
    return Cut(cut_root(tmp_path_factory.mktemp("small"), 3), unit_clips=4, workers=1)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Cut:
    """200 clips, 25 units."""
    return Cut(cut_root(tmp_path_factory.mktemp("large"), 25), unit_clips=8, workers=2)


@contextmanager
def killed(server: ChildServer, *after: int, away_s: float = 2.0, is_apart: bool = False) -> Iterator[None]:
    """`kill -9` of the server each time that it has had so many requests; it is back, at the same port, after `away_s`.

    is_apart: no clip is in flight at each of its deaths: those that were at one have their answers before the next.
    """
    ended = threading.Event()
    struck = []

    def strike() -> None:
        hit: set[str] = set()
        for num in after:
            while (len(server.requests()) < num or hit & server.unanswered()) and not ended.is_set():
                time.sleep(0.05)
            struck.append(not ended.is_set())
            server.kill()
            hit = server.unanswered() if is_apart else set()
            time.sleep(away_s)
            server.start()

    thread = threading.Thread(target=strike)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert struck == [True] * len(after)


def with_faults(
    cut: Cut, folder: Path, rates: dict[str, float], *kills: int, delay_s: float = 0.05, **stage: Any
) -> dict[str, dict[str, Any]]:
    """Caption all clips by a server that fails at these rates, and is killed; the rows, in which every text is at its own clip."""
    root = copy_of(cut.root, folder / "root")
    with ChildServer(folder, Plan(rates=rates, seed=1, delay_s=delay_s, retry_after="1")) as server:
        caption = captioning(server.url, num_in_flight=8, timeout_s=2.0, **stage)
        with killed(server, *kills, is_apart=not rates):
            store = cut.run(root, {"name": "text", "stages": [caption]})
        rows = check_pairing(store, "text", server.requests())
        assert sum(entry["fault"] != "" for entry in server.requests()) >= 0.5 * sum(rates.values()) * len(rows)
        if stage.get("retries") == 0 and not kills:
            assert set(asked_keys(server.requests()).values()) == {1}
    return rows


def assert_captioned(rows: dict[str, dict[str, Any]]) -> None:
    assert {row["error"] for row in rows.values()} == {None}
    assert {row["text_finish"] for row in rows.values()} == {"stop"}


@pytest.mark.parametrize("fault", ["hang", "half"])
def test_a_server_that_fails_in_one_way(small: Cut, tmp_path: Path, fault: str) -> None:
    assert_captioned(with_faults(small, tmp_path, ALONE[fault], retries=20))


@pytest.mark.slow
@pytest.mark.parametrize("fault", ALONE)
def test_a_server_that_fails_in_one_way_on_many_clips(large: Cut, tmp_path: Path, fault: str) -> None:
    assert_captioned(with_faults(large, tmp_path, ALONE[fault], retries=20))


def test_a_server_that_dies_and_fails_in_all_ways(small: Cut, tmp_path: Path) -> None:
    assert_captioned(with_faults(Cut(small.root, 4, workers=2), tmp_path, MIXED, 10, retries=20))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_dies_and_fails_in_all_ways_on_many_clips(large: Cut, tmp_path: Path, workers: int) -> None:
    cut = Cut(large.root, 25, workers)
    assert_captioned(with_faults(cut, tmp_path, MIXED, 30, 120, 150, retries=20))


@pytest.mark.slow
def test_a_server_that_dies_costs_no_clip(large: Cut, tmp_path: Path) -> None:
    """Not a try either: whoever was in flight when it died had one; who found it dead waits.

    Answers take so long that many clips are left when those that a death hit have theirs.
    """
    assert_captioned(with_faults(large, tmp_path, {}, 20, 90, 170, delay_s=0.3, retries=2))


def test_clips_without_an_answer_have_their_error(small: Cut, tmp_path: Path) -> None:
    """Without another try, every clip is asked about once."""
    rows = with_faults(small, tmp_path, {"500": 0.2, "broken json": 0.2, "half": 0.1, "hang": 0.1}, retries=0)
    errors = {key: row["error"] for key, row in rows.items() if row["error"] is not None}
    assert 4 <= len(errors) <= 20
    assert all(error.startswith("caption: ") and error.endswith(" (tried 1 times)") for error in errors.values())
    assert {rows[key]["dropped_by"] for key in errors} == {"error: caption"}


def test_a_text_is_worked_on_by_a_server_that_fails(small: Cut, tmp_path: Path) -> None:
    """`llm` sees no frames: the numbers in the text that it gets tell whose it is."""
    root = copy_of(small.root, tmp_path / "root")
    with ChildServer(tmp_path, Plan(rates={"429": 0.1, "hang": 0.05, "closed": 0.1}, seed=2, delay_s=0.05)) as server:
        how = {"num_in_flight": 8, "timeout_s": 2.0, "retries": 20}
        first = {"name": "text", "stages": [captioning(server.url, **how)]}
        second = {"name": "better", "from": "text", "stages": [asking(server.url, type="llm", **how)]}
        with killed(server, 45):
            store = small.run(root, first, second)
        rows = check_pairing(store, "better", server.requests(), column="text_llm")
        check_pairing(store, "better", server.requests())
    assert all(row["text"] in row["text_llm"] for row in rows.values())
    assert_captioned(rows)
