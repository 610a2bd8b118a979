"""Stages of every kind in one pass: no frame of a clip is decoded twice, and none for the pleasure of it."""

from pathlib import Path

import pytest
from support.decoded import count_decoded
from support.runs import make_config, render_videos, rows_of, run_inline
from support.tiny_clip import WIDTH, aesthetic_head, clip_folder

from shardpipe.storage.store import open_store


def test_cheap_stages_beside_an_image_encoder_decode_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = {"backbone": clip_folder(tmp_path / "clip"), "precision": "fp32"}
    images = [
        {"type": "aes", "weights": str(aesthetic_head(tmp_path / "head.pth", num_in=WIDTH)), **common},
        {"type": "embed", **common},
        {"type": "match", "column": "source", **common},
    ]
    rest = [{"type": "flow"}, {"type": "quality"}, {"type": "camera_motion"}]
    videos, seen = render_videos(tmp_path / "videos"), count_decoded(monkeypatch)

    def num_decoded(name: str, *stages: dict[str, object]) -> int:
        seen.clear()
        run_inline(make_config(tmp_path / name, videos, [{"name": "score", "stages": list(stages)}]))
        return len(seen)

    alone = [num_decoded(f"alone_{i}", stage) for i, stage in enumerate([*images, *rest])]
    together = num_decoded("together", *images, *rest)
    rows = rows_of(open_store(str(tmp_path / "together")), "score").values()
    assert all(row["error"] is None for row in rows)
    assert max(alone) <= together <= sum(row["num_frames"] for row in rows)
