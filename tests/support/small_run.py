"""A small finished run: three numbered videos and a broken one, cut, scored and emitted by the real engine."""

import os
from fractions import Fraction
from pathlib import Path

from support.numbered import make_numbered

CONFIG = """\
root: {folder}/run
cut:
  sources: {folder}/videos
  scenes: {{type: fixed, every_s: 1}}
  max_failed: 0.5
passes:
  - name: score
    from: clips
    stages: [{{type: flow}}]
    emit: rows
  - name: train
    from: score
    keep: [duration_s > 0.5, "start_s < 1.5"]
    emit: shards
execute: {{workers: 1}}
prices: {{cpu_hour: 0.04}}
"""


def write_small_run(folder: Path) -> Path:
    """The config of a small run in `folder`, its videos beside it; nothing has run yet."""
    (folder / "videos").mkdir(parents=True)
    for i in range(2):
        make_numbered(folder / "videos" / f"v{i}.mp4", num_frames=50, fps=Fraction(25), options={"g": "25"})
    (folder / "videos" / "broken.mp4").write_bytes(os.urandom(100))
    config = folder / "run.yaml"
    config.write_text(CONFIG.format(folder=folder), encoding="utf-8")
    return config
