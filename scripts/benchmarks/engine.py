"""What the engine itself costs a clip: a stage that does nothing and needs no frames, on few and on many clips."""

import tempfile
from pathlib import Path

from measure import Table, python

RUN = """
import random, sys
from pathlib import Path
sys.path[:0] = ["tests", "scripts/benchmarks"]
if __name__ == "__main__":
    from fakes import Nothing
    from shardpipe.config.models import Config
    from shardpipe.config.models import PassConfig
    from shardpipe.executors.run import run_config
    one = PassConfig(name=sys.argv[2], **{"from": "clips"}, stages=[Nothing()], emit="rows")
    run_config(Config(root=sys.argv[1], passes=[one], execute={"type": "local", "workers": 1}))
"""

MAKE = """
import sys
sys.path.insert(0, "tests")
from shardpipe.storage.store import open_store
from support.tiny_dataset import make_clips
units = {f"{u:06d}": [f"clip_{u:04d}_{i:04d}" for i in range(500)] for u in range(int(sys.argv[2]))}
make_clips(open_store(sys.argv[1]), units, payload=lambda key: key.encode())
"""


def bench(table: Table, *, rounds: int) -> None:
    """CPU milliseconds a clip: the slope between 1,000 and 11,000 clips."""
    costs, peaks = [], []
    with tempfile.TemporaryDirectory() as name:
        few, many = Path(name) / "few", Path(name) / "many"
        python(MAKE, str(few), "2")
        python(MAKE, str(many), "22")
        for i in range(rounds):
            low, high = _pass(few, i), _pass(many, i)
            costs.append((high[0] - low[0]) / 10_000 * 1000)
            peaks.append(high[1] / low[1])
    table.add("engine overhead, CPU ms a clip", sorted(costs)[rounds // 2], at_most=0.5)
    table.add("peak memory, 11,000 clips x 1,000 clips", sorted(peaks)[rounds // 2], at_most=1.2)


def _pass(root: Path, number: int) -> tuple[float, float]:
    cost = python(RUN, str(root), f"nothing{number}")
    return cost.cpu_s, float(cost.peak_bytes)
