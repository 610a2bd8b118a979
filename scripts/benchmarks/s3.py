"""S3 on a loopback Ceph: what emit reads and puts against the same bytes by s3fs and by requests tuned by hand."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import ROOT, SHARDPIPE, Table, run

from shardpipe.engine.timings import read_timings, total
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.store import open_store

NUM_BYTES = 1 << 30
SETTLE_S = 12.0
"""Ceph frees what was deleted some seconds later, on the same cores."""

SIDE = str(Path(__file__).with_name("s3_side.py"))
CONFIG = """
root: {root}
passes:
  - {{name: all, from: clips, emit: rows}}
  - {{name: few, from: clips, keep: ["path LIKE '%1.mp4'"], emit: shards}}
"""
EMITTED = ("all/shards", "all/emit", "all/index.parquet", "all/wids.json", "all/README.md", "all/urls.txt")


def bench(table: Table, *, rounds: int, num_bytes: int = NUM_BYTES) -> None:
    """Walls of each side within a round; the sides that do the same by other means count with the quickest of them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        served = _asked("serve", name, str(os.getpid()))
        if "why" in served:
            table.skip("S3: a pass without stages", why=served["why"])
            return
        root = served.pop("url")
        os.environ |= served
        _side("make", root, str(num_bytes))
        config = folder / "s3.yaml"
        config.write_text(CONFIG.format(root=root), encoding="utf-8")
        run([SHARDPIPE, "run", str(config)])
        _count(table, root)
        _measure(table, root, folder / "shards", rounds)


def _measure(table: Table, root: str, shards: Path, rounds: int) -> None:
    emit = [SHARDPIPE, "emit", f"{root}/all", "--shard-bytes", "256MiB"]
    found: dict[str, list[float]] = {}
    for i in range(rounds):
        emitted, again = run(emit), run(emit)
        if not i:
            _side("fetch", root, str(shards))
        sides = {side: _side(side, root) for side in ("get-cat", "get-ours", "get-hand")}
        _side("drop", root, *EMITTED)
        for side in ("put-s3fs", "put-ours", "put-hand"):
            time.sleep(SETTLE_S)
            sides[side] = _side(side, root, str(shards))
            _side("drop", root, "put")
        time.sleep(SETTLE_S)
        for what in ("wall_s", "cpu_s"):
            get = min(sides["get-cat"][what], sides["get-hand"][what])
            put = min(sides["put-s3fs"][what], sides["put-hand"][what])
            own = {"read": get / sides["get-ours"][what], "put": put / sides["put-ours"][what]}
            whole = getattr(emitted, what) - getattr(again, what)
            own |= {"whole": put / whole, "both": (get + put) / whole}
            for side, ratio in own.items():
                found.setdefault(f"{side} {what}", []).append(ratio)
        note = {side: {what: round(value, 2) for what, value in each.items()} for side, each in sides.items()}
        print(f"    emit {emitted.wall_s:.2f} s, again {again.wall_s:.2f} s; {note}", flush=True)
    middle = {name: sorted(values)[rounds // 2] for name, values in found.items()}
    table.add("S3: what emit reads, checked / cat_ranges or tuned GETs", middle["read wall_s"], at_least=0.9)
    table.add("S3: what emit puts / plain multipart put", middle["put wall_s"], at_least=0.8)
    table.add("S3: emit / tuned GETs, then plain multipart put", middle["both wall_s"], at_least=0.8)
    note = "no bar: its reads and the server share these cores"
    table.add("S3: emit, its reads too / plain multipart put alone", middle["whole wall_s"], note=note)
    for side, what in (("read", "what emit reads"), ("put", "what emit puts"), ("both", "emit")):
        table.add(f"S3: {what}, CPU of the client, plain / ours", middle[f"{side} cpu_s"], note="no bar")


def _count(table: Table, root: str) -> None:
    """A pass whose rule keeps a tenth: what its emit read of the store, over the kept media."""
    store = open_store(root)
    view = Dataset.open(store, "few").pass_view()
    kept = sum(row["size"] for unit in view.units() for row in view.fold(unit).rows if row["kept"])
    read = total(read_timings(store, "few", "emit")).bytes_read
    table.add("S3: bytes read by emit after a rule / bytes of kept clips", read / kept, at_most=1.13)


def _side(side: str, root: str, *arguments: str) -> dict[str, float]:
    return {name: float(value) for name, value in _asked(side, root, *arguments).items()}


def _asked(side: str, root: str, *arguments: str) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    command = [sys.executable, SIDE, side, root, *arguments]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, str] = json.loads(done.stdout or "{}")
    return found
