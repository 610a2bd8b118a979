"""Commands on a root of 100,000 units a Dataset in a store that takes 20 ms a request: before a run left a summary, and after."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import ROOT, Table, python

UNITS = 100_000
COMMANDS = ("status", "plan", "run")
MAKE = """
import sys
sys.path.insert(0, "tests")
from pathlib import Path
from support.large_root import make_large
make_large(Path(sys.argv[1]), int(sys.argv[2]))
"""


def bench(table: Table, *, rounds: int) -> None:  # noqa: ARG001  once: a round takes minutes
    """Seconds and megabytes of each command in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        pack, over = Path(folder) / "root.pack", Path(folder) / "over"
        python(MAKE, str(pack), str(UNITS))
        for state in ("no summary", "after a run"):
            for command in COMMANDS:
                words = [sys.executable, "tests/support/large_commands.py", str(pack), str(over), "0", command]
                environment = {**os.environ, "PYTHONPATH": "tests"}
                done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, check=True, env=environment)
                took = json.loads(done.stdout)
                note = f"{sum(took['requests'].values())} requests"
                table.add(f"scale: {command}, {state}: seconds", took["wall_s"], at_most=60, note=note)
                table.add(f"scale: {command}, {state}: peak MB", took["peak_mb"], at_most=1000)
