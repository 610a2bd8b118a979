"""Emitting 1 GB of clips against `cp` of the same bytes and a sha256 of them."""

import shutil
import tempfile
from pathlib import Path

from measure import SHARDPIPE, Table, python, run

NUM_BYTES = 1 << 30
CLIP_BYTES = 2 << 20

MAKE = """
import random, sys
sys.path.insert(0, "tests")
from shardpipe.storage.store import open_store
from support.tiny_dataset import make_clips
count, size = int(sys.argv[2]), int(sys.argv[3])
noise = random.Random(0).randbytes(size)
payload = lambda key: key.encode() + noise[len(key):]
units = {f"{u:06d}": [f"clip_{u:04d}_{i:04d}" for i in range(64)] for u in range(count // 64)}
make_clips(open_store(sys.argv[1]), units, payload=payload)
"""

WARM = "held = bytearray(b'x') * (3 << 30)"
"""Memory that a virtual machine gets from its host only now costs whoever touches it first up to two CPU-seconds a GB."""

CONFIG = """
root: {root}
passes:
  - {{name: all, from: clips, emit: rows}}
execute: {{type: local, workers: 1}}
"""

HASH = """
import hashlib, sys
from pathlib import Path
for path in sorted(Path(sys.argv[1]).glob("*.tar")):
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256")
"""


def bench(table: Table, *, rounds: int) -> None:
    """CPU and wall; the emitter's process start (measured on a second emit, which finds all done) is taken off.

    The first round is not counted: it pays for memory that the disk cache never held before. Before each side, the memory that it
    will fill is touched by another process.
    """
    cpu, wall = [], []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        python(MAKE, name, str(NUM_BYTES // CLIP_BYTES), str(CLIP_BYTES))
        config = root / "all.yaml"
        config.write_text(CONFIG.format(root=root), encoding="utf-8")
        run([SHARDPIPE, "run", str(config)])
        shards = root / "clips" / "shards"
        emit = [SHARDPIPE, "emit", str(root / "all"), "--shard-bytes", "256MiB"]
        for _ in range(rounds + 1):
            python(WARM)
            copy = run(["cp", "-r", str(shards), str(root / "copy")])
            digest, start = python(HASH, str(shards)), python(HASH, str(root / "none"))
            python(WARM)
            emitted, again = run(emit), run(emit)
            cpu.append((emitted.cpu_s - again.cpu_s) / (copy.cpu_s + digest.cpu_s - start.cpu_s))
            wall.append((emitted.wall_s - again.wall_s) / (copy.wall_s + digest.wall_s - start.wall_s))
            for made in ("copy", "all/shards", "all/emit"):
                shutil.rmtree(root / made)
            for final in ("index.parquet", "wids.json", "README.md", "urls.txt"):
                (root / "all" / final).unlink()
    table.add("emit of 1 GB, x (cp + sha256), CPU", sorted(cpu[1:])[rounds // 2], at_most=1.5)
    note = "wall time waits for the disk, as cp does not: no bar"
    table.add("emit of 1 GB, x (cp + sha256), wall", sorted(wall[1:])[rounds // 2], note=note)
