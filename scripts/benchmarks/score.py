"""The quickstart's score pass against decoding its clips once, and against the same stages in a pass each."""

import tempfile
from pathlib import Path

from material import web_video
from measure import SHARDPIPE, Table, inner, run

STAGES = ("flow", "camera_motion", "quality", "borders", "phash")

CONFIG = """
root: {root}
cut:
  sources: {video}
  scenes: {{type: adaptive, max_s: 20}}
passes:
{passes}
execute: {{type: local, workers: 1, decoders: 1}}
"""

DECODE = """
import io, sys, time, av, webdataset as wds
from pathlib import Path
clips = [s["mp4"] for s in wds.WebDataset(sorted(map(str, Path(sys.argv[1]).glob("*.tar"))), shardshuffle=False)]
began = time.process_time()
for _ in range(3):
    for clip in clips:
        with av.open(io.BytesIO(clip)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            for frame in container.decode(stream):
                pass
print((time.process_time() - began) / 3)
"""


def one_pass(name: str, stages: tuple[str, ...]) -> str:
    """A pass of a config."""
    listed = ", ".join(f"{{type: {stage}}}" for stage in stages)
    return f"  - {{name: {name}, from: clips, stages: [{listed}], emit: rows}}"


def bench(table: Table, *, rounds: int) -> None:
    """Fused, and apart. The cost of a pass is that of its process less the same with no stage at all."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "score.yaml"
        names = [f"{kind}_{i}" for i in range(rounds) for kind in ("fused", "empty", *STAGES)]
        passes = [
            one_pass(
                each,
                STAGES if each.startswith("fused") else () if each.startswith("empty") else (each.rsplit("_", 1)[0],),
            )
            for each in names
        ]
        config.write_text(
            CONFIG.format(root=folder / "root", video=web_video(), passes="\n".join(passes)), encoding="utf-8"
        )
        run([SHARDPIPE, "run", str(config), "--pass", "clips"])
        costs = {each: run([SHARDPIPE, "run", str(config), "--pass", each]).cpu_s for each in names}
        decode = inner(DECODE, str(folder / "root" / "clips" / "shards"))
    middle = {
        kind: sorted(costs[f"{kind}_{i}"] for i in range(rounds))[rounds // 2] for kind in ("fused", "empty", *STAGES)
    }
    fused = middle["fused"] - middle["empty"]
    table.add(
        "score pass (5 stages), x decode of its clips", fused / decode, at_most=2.0, note=f"decode {decode:.2f} CPU-s"
    )
    apart = sum(middle[stage] - middle["empty"] for stage in STAGES)
    table.add("score pass, x the same stages in a pass each", fused / apart, at_most=0.5)
    whole = sum(middle[stage] for stage in STAGES)
    table.add("score pass, the same with process starts counted", middle["fused"] / whole, at_most=0.5)
