"""`cut` against decoding the same video once on one thread with PyAV: the slope between one file and five.

Two videos of the same scenes: one with keyframes at its cuts, as x264 sets them by itself, of which little is encoded again;
and one with a keyframe each second wherever the cuts are, as platforms serve it, of which some 15 % is.
Process start is measured apart, as a run over a tiny video: the line through one and five files is too rough for it.
"""

import json
import shutil
import statistics
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from material import keyed_video, web_video
from measure import SHARDPIPE, Table, inner, median_of, run

DECODE = """
import sys, time, av
began = time.process_time()
with av.open(sys.argv[1]) as container:
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1
    for frame in container.decode(stream):
        pass
print(time.process_time() - began)
"""

CONFIG = """
root: {root}
cut:
  sources: {sources}
  scenes: {{type: adaptive, max_s: 20}}
  write: {{method: {method}, max_trim_s: {trim}}}
execute: {{type: local, workers: 1}}
"""

SHARE = "SELECT count(*) AS clips, sum(num_encoded) AS encoded, sum(num_frames) AS frames FROM clips"
WAYS = (
    ("auto", 0.5, "keyframe each s", 2.4),
    ("auto", 0.0, "keyframe each s", 2.8),
    ("editlist", 0.5, "keyframe each s", 1.8),
    ("auto", 0.5, "keyframes at cuts", 2.4),
)
SECONDS = 90
START_CPU_S = 2.5
TINY = (2, (320, 180))


@dataclass(frozen=True)
class Cut:
    """What cutting took, and what came of it."""

    cpu_s: float
    clips: int
    encoded_share: float


def cut(video: Path, copies: int, method: str, trim: float) -> Cut:
    """A whole `shardpipe run` over so many copies of a video."""
    with tempfile.TemporaryDirectory(dir=video.parent) as name:
        folder = Path(name)
        sources, root = folder / "videos", folder / "root"
        sources.mkdir()
        for i in range(copies):
            shutil.copy(video, sources / f"{i}.mp4")
        config = folder / "cut.yaml"
        config.write_text(CONFIG.format(root=root, sources=sources, method=method, trim=trim), encoding="utf-8")
        cpu_s = run([SHARDPIPE, "run", str(config)]).cpu_s
        asked = [SHARDPIPE, "query", str(root), SHARE, "--json"]
        found = json.loads(subprocess.run(asked, stdout=subprocess.PIPE, check=True, text=True).stdout)
    return Cut(cpu_s, found["clips"], (found["encoded"] or 0) / (found["frames"] or 1))


def bench(table: Table, *, rounds: int) -> None:
    """Every way to write clips."""
    videos = {"keyframe each s": keyed_video(SECONDS), "keyframes at cuts": web_video(SECONDS)}
    decodes = {title: median_of(rounds, lambda path=path: inner(DECODE, str(path))) for title, path in videos.items()}
    for method, trim, title, bar in WAYS:
        pairs = [[cut(videos[title], copies, method, trim) for copies in (1, 5)] for _ in range(rounds)]
        one, five = (statistics.median(each.cpu_s for each in many) for many in zip(*pairs, strict=True))
        made, decode = pairs[0][0], decodes[title]
        name = f"cut {method}" + (f", max_trim_s {trim:g}" if method == "auto" else "")
        scenes = f"{made.clips / SECONDS * 60:.0f} clips a minute, {made.encoded_share:.0%} of frames encoded"
        note = f"{scenes}; decode {decode:.2f} CPU-s"
        table.add(f"{name}, {title}, x decode (slope)", (five - one) / 4 / decode, at_most=bar, note=note)
    start = median_of(2 * rounds + 1, lambda: cut(web_video(*TINY), 1, "auto", 0.5).cpu_s)
    table.add("cut of a tiny video, CPU-s: process start at most", start, at_most=START_CPU_S)
