"""A worker against the supply of its decoders: a fake device that sleeps, and two workers on two cores."""

import json
import tempfile
from pathlib import Path

from material import web_video
from measure import SHARDPIPE, Table, python, run

CONFIG = """
root: {root}
cut: {{sources: {video}, scenes: {{type: fixed, every_s: 2.0}}, write: {{method: auto, max_trim_s: 2.0}}, shard_bytes: 64MiB}}
"""

RUN = """
import sys
sys.path[:0] = ["scripts/benchmarks"]
if __name__ == "__main__":
    from fakes import Sleeper
    from shardpipe.config.models import Config, PassConfig
    from shardpipe.executors.run import run_config
    root, name, sleep_s, log, workers = sys.argv[1:6]
    one = PassConfig(name=name, **{"from": "clips"}, stages=[Sleeper(sleep_s=float(sleep_s), log=log)], emit="rows")
    run_config(Config(root=root, passes=[one], execute={"type": "local", "workers": int(workers), "decoders": 1}))
"""

PLAIN = """
import json, multiprocessing, sys, time
sys.path[:0] = ["scripts/benchmarks"]
from plain import decode_share
if __name__ == "__main__":
    root, processes, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        spans = pool.starmap(decode_share, [(root, i, processes) for i in range(processes)])
    json.dump([min(a for a, _, _ in spans), max(b for _, b, _ in spans), sum(n for _, _, n in spans)], open(out, "w"))
"""


def bench(table: Table, *, rounds: int) -> None:
    """Clips a second, from the first to the last, process starts left out."""
    ratios: dict[str, list[float]] = {"full": [], "busy": [], "two": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "cut.yaml"
        videos = folder / "videos"
        videos.mkdir()
        for i in range(4):
            (videos / f"{i}.mp4").symlink_to(web_video())
        config.write_text(CONFIG.format(root=folder / "root", video=videos), encoding="utf-8")
        run([SHARDPIPE, "run", str(config)])
        for i in range(rounds):
            supply = _plain(folder, 1)
            ratios["full"].append(_rate(folder, f"full{i}", 0.0, 1) / supply)
            ratios["busy"].append(_busy(folder, f"busy{i}", 1 / (0.7 * supply)))
            ratios["two"].append(_rate(folder, f"two{i}", 0.0, 2) / _plain(folder, 2))
    middle = {kind: sorted(values)[rounds // 2] for kind, values in ratios.items()}
    table.add("fake device, sleeps 0: throughput / decode supply", middle["full"], at_least=0.95)
    table.add("fake device, needs 70 % of the supply: busy share", middle["busy"], at_least=0.95)
    table.add("two workers / two plain decode processes", middle["two"], at_least=0.9)


def _plain(folder: Path, processes: int) -> float:
    out = folder / "plain.json"
    python(PLAIN, str(folder / "root"), str(processes), str(out))
    begin, end, count = json.loads(out.read_text(encoding="utf-8"))
    return float(count) / (end - begin)


def _spans(folder: Path, name: str, sleep_s: float, workers: int) -> list[list[tuple[float, float, int]]]:
    log = folder / f"{name}.log"
    python(RUN, str(folder / "root"), name, str(sleep_s), str(log), str(workers))
    return [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob(f"{name}.*[0-9]")]


def _rate(folder: Path, name: str, sleep_s: float, workers: int) -> float:
    """Clips after the first batch, over the time from the first batch to the last."""
    rate = 0.0
    for spans in _spans(folder, name, sleep_s, workers):
        rate += sum(count for _, _, count in spans[1:]) / (spans[-1][1] - spans[0][1])
    return rate


def _busy(folder: Path, name: str, sleep_s: float) -> float:
    (spans,) = _spans(folder, name, sleep_s, 1)
    return sum(end - begin for begin, end, _ in spans) / (spans[-1][1] - spans[0][0])
