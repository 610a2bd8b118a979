"""A process that holds scratch: `python scratch_holder.py BASE LIMIT BYTES` says where, and keeps it until it is killed or told."""

import sys
from pathlib import Path

from shardpipe.storage.scratch import Scratch, remove_leftovers

base = Path(sys.argv[1])
remove_leftovers(base)
scratch = Scratch(base, max_bytes=int(sys.argv[2]))
folder = scratch.new(int(sys.argv[3]))
(folder / "file").write_bytes(b"x" * 1000)
print(folder, flush=True)
sys.stdin.readline()
