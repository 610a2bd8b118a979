"""Still pictures as clips of one frame go through every built-in stage."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.runs import make_config, rows_of, run_inline

from shardpipe.config.registry import stage_class, stage_names
from shardpipe.core.columns import Member
from shardpipe.storage.store import Store, open_store
from shardpipe.testing import make_clip


def needs_nothing(name: str) -> bool:
    """Whether a stage runs with its default fields and without weights."""
    try:
        stage = stage_class(name).model_validate({})
    except ValidationError:
        return False
    return not any(each.loads for each in (stage, *stage.shares))


STAGES: dict[str, dict[str, Any]] = {
    **{name: {"type": name} for name in stage_names() if needs_nothing(name)},
    "flow mv": {"type": "flow", "engine": "mv"},
    "annotate": {"type": "annotate", "aes": None, "motion": "flow_px_s"},
}

BEFORE = ("flow", "camera_motion", "quality", "borders", "ocr")
"""What `describe` and `annotate` read the columns of."""


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stills")
    for seed, size in enumerate([(320, 180), (180, 320), (16, 16)]):
        make_clip(folder / f"{seed}.mp4", duration_s=0.04, size=size, seed=seed)
    table = folder / "stills.csv"
    table.write_text("url,text\n" + "".join(f"{folder}/{seed}.mp4,A red car.\n" for seed in range(3)), encoding="utf-8")
    return table


@pytest.mark.parametrize("name", sorted(STAGES))
def test_a_stage_takes_stills(name: str, stills: Path, tmp_path: Path) -> None:
    stage = STAGES[name]
    before = [{"type": each} for each in BEFORE if stage["type"] in ("describe", "annotate")]
    config = make_config(
        tmp_path / "root",
        stills,
        [{"name": "score", "stages": [*before, stage], "max_failed": 0.0}],
        scenes={"type": "none", "min_s": 0.0},
        max_failed=0.0,
    )
    report = run_inline(config)
    assert not report.failed_units
    store: Store = open_store(str(tmp_path / "root"))
    rows = rows_of(store, "score")
    assert len(rows) == 3
    writes = stage_class(stage["type"]).model_validate(stage).writes
    for row in rows.values():
        assert row["error"] is None
        assert row["kept"]
        assert row["num_frames"] == 1
        assert {column for column, kind in writes.items() if not isinstance(kind, Member)} <= set(row)
