"""`cut` against decoding the same video once on one thread with PyAV: the slope between one file and five."""

import shutil
import tempfile
from pathlib import Path

from material import web_video
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

WAYS = (("auto", 0.5, 2.4), ("auto", 0.0, 2.8), ("editlist", 0.5, 1.8))
START_CPU_S = 2.5


def cut_cpu_s(video: Path, copies: int, method: str, trim: float) -> float:
    """CPU seconds of a whole `shardpipe run` over so many copies of a video."""
    with tempfile.TemporaryDirectory(dir=video.parent) as name:
        folder = Path(name)
        sources = folder / "videos"
        sources.mkdir()
        for i in range(copies):
            shutil.copy(video, sources / f"{i}.mp4")
        config = folder / "cut.yaml"
        config.write_text(
            CONFIG.format(root=folder / "root", sources=sources, method=method, trim=trim), encoding="utf-8"
        )
        return run([SHARDPIPE, "run", str(config)]).cpu_s


def bench(table: Table, *, rounds: int) -> None:
    """Every way to write clips."""
    video = web_video()
    decode = median_of(rounds, lambda: inner(DECODE, str(video)))
    for method, trim, bar in WAYS:
        ones, fives = [], []
        for _ in range(rounds):
            ones.append(cut_cpu_s(video, 1, method, trim))
            fives.append(cut_cpu_s(video, 5, method, trim))
        one, five = sorted(ones)[rounds // 2], sorted(fives)[rounds // 2]
        slope = (five - one) / 4
        name = f"cut {method}" + (f", max_trim_s {trim:g}" if method == "auto" else "")
        table.add(
            f"{name}, x decode (slope of 1 to 5 files)", slope / decode, at_most=bar, note=f"decode {decode:.2f} CPU-s"
        )
        table.add(f"{name}, process start, CPU-s", one - slope, at_most=START_CPU_S)
