"""Memory: a 2-hour video is cut within 1 GB, and a scoring run over 1,000 clips needs no more than one over 10."""

import tempfile
from pathlib import Path

from material import long_video, web_video
from measure import SHARDPIPE, Table, run

CONFIG = """
root: {root}
cut: {{sources: {videos}, scenes: {{type: {scenes}}}, shard_bytes: 16MiB}}
passes:
  - {{name: score, from: clips, stages: [{{type: flow}}, {{type: quality}}], emit: rows}}
execute: {{type: local, workers: 1, decoders: 1}}
"""


def bench(table: Table, *, rounds: int) -> None:  # noqa: ARG001  peaks do not scatter
    """Peak of the largest process, which `ru_maxrss` gives."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        peak = _run(folder, "long", long_video(), "adaptive", "clips")
        table.add("2-hour video cut, peak of the largest process, GB", peak / 1e9, at_most=1.0)
        few, many = folder / "few", folder / "many"
        for target, copies in ((few, 1), (many, 100)):
            target.mkdir()
            for i in range(copies):
                (target / f"{i}.mp4").symlink_to(web_video(20, (320, 180)))
        low = _run(folder, "low", few, "fixed, every_s: 2.0", "score")
        high = _run(folder, "high", many, "fixed, every_s: 2.0", "score")
        table.add("peak memory, 1,000 clips x 10 clips", high / low, at_most=1.2, note=f"{high / 1e6:.0f} MB")


def _run(folder: Path, name: str, videos: Path, scenes: str, last: str) -> int:
    config = folder / f"{name}.yaml"
    config.write_text(CONFIG.format(root=folder / name, videos=videos, scenes=scenes), encoding="utf-8")
    cut = run([SHARDPIPE, "run", str(config), "--pass", "clips"])
    return cut.peak_bytes if last == "clips" else run([SHARDPIPE, "run", str(config), "--pass", last]).peak_bytes
