"""`cut` against decoding the same video once on one thread with PyAV: the slope between one file and five.

Process start is measured apart, as a run over a tiny video: the line through one and five files is too rough for it.
"""

import shutil
import statistics
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
TINY = (2, (320, 180))


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
        pairs = [[cut_cpu_s(video, copies, method, trim) for copies in (1, 5)] for _ in range(rounds)]
        one, five = (statistics.median(each) for each in zip(*pairs, strict=True))
        name = f"cut {method}" + (f", max_trim_s {trim:g}" if method == "auto" else "")
        ratio = (five - one) / 4 / decode
        table.add(f"{name}, x decode (slope of 1 to 5 files)", ratio, at_most=bar, note=f"decode {decode:.2f} CPU-s")
    start = median_of(2 * rounds + 1, lambda: cut_cpu_s(web_video(*TINY), 1, "auto", 0.5))
    table.add("cut of a tiny video, CPU-s: process start at most", start, at_most=START_CPU_S)
