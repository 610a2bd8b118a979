"""Many clips with an AsyncStage while stages after it want their frames too: a pass ends, however few frames may be held."""

import itertools
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from support.fakes import Scored, start_of
from support.later import OPENED, Later
from support.numbered import make_numbered
from support.runs import SIZE, make_config, rows_of, run_inline

from shardpipe.core.stage import Stage
from shardpipe.executors.run import run_config
from shardpipe.storage.store import open_store

NUM = 60
LIMIT_S = 120


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 clips in three units, cut; nothing else is done."""
    root = tmp_path_factory.mktemp("held") / "root"
    videos = root.parent / "videos"
    videos.mkdir()
    for i in range(3):
        options = {"g": "2", "bf": "0", "preset": "ultrafast"}
        make_numbered(videos / f"v{i}.mp4", num_frames=40, fps=Fraction(2), size=SIZE, options=options)
    run_inline(make_config(root, videos))
    return root


def later(column: str = "later", **fields: Any) -> Later:
    return Later(column=column, wait_s=0.001, **{"frames_wanted": True, **fields})


def orders(in_flight: int) -> dict[str, list[Stage]]:
    """Stages that see frames, after and between those that answer later."""
    sees = Scored(frames_wanted=True)
    one, two = later(in_flight=in_flight), later("two", in_flight=in_flight)
    blind = later(in_flight=in_flight, frames_wanted=False)
    return {"after": [one, sees], "before": [sees, one], "between": [one, sees, two], "unseen": [blind, sees]}


def run(cut: Path, name: str, stages: Sequence[Stage], **options: Any) -> None:
    root, execute = cut, options.pop("execute", {"type": "inline"})
    one = {"name": name, "stages": stages, "max_failed": 1.0, **options}
    config = make_config(root, cut.parent / "videos", [one], execute=execute)
    report = run_inline(config) if execute["type"] == "inline" else run_config(config)
    assert not report.pending
    rows = rows_of(open_store(str(root)), name)
    assert len(rows) == NUM
    for key, row in rows.items():
        assert row["error"] is None
        assert row["later"] == start_of(key)
        assert row["score"] == start_of(key) / 1000
        assert row.get("two", start_of(key)) == start_of(key)


def all_end(
    cut: Path, order: str, batch_clips: int, *, most_in_flight: Sequence[int], unit_clips: Sequence[int]
) -> None:
    for in_flight, size in itertools.product(most_in_flight, unit_clips):
        name = f"{order}-{batch_clips}-{in_flight}-{size}"
        run(cut, name, orders(in_flight)[order], unit_clips=size, batch_clips=batch_clips)
        OPENED.clear()


@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize("order", orders(1))
def test_a_pass_ends_however_many_are_in_flight(cut: Path, order: str) -> None:
    all_end(cut, order, 1, most_in_flight=(1, 300), unit_clips=(1, 100))


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize("batch_clips", [2, 7, 64])
@pytest.mark.parametrize("order", orders(1))
def test_so_it_does_in_batches(cut: Path, order: str, batch_clips: int) -> None:
    all_end(cut, order, batch_clips, most_in_flight=(1, 2, 3, 17, 300), unit_clips=(1, 2, 5, 100))


@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize(
    ("in_flight", "unit_clips", "decoders"),
    [(1, 100, 1), pytest.param(300, 1, 1, marks=pytest.mark.slow), pytest.param(64, 7, 4, marks=pytest.mark.slow)],
)
def test_a_pass_ends_with_decoders_in_processes(cut: Path, in_flight: int, unit_clips: int, decoders: int) -> None:
    execute = {"type": "local", "workers": 1, "decoders": decoders}
    name = f"local-{in_flight}-{unit_clips}"
    run(cut, name, orders(in_flight)["between"], unit_clips=unit_clips, batch_clips=1, execute=execute)
