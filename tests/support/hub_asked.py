"""Asking for weights of a hub on localhost in a process of its own: the hub's client reads its environment when it is imported."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.file_server import Files

ASK = """
import json, sys
sys.modules["torch"] = sys.modules["torchvision"] = None
from shardpipe.core.errors import ShardpipeError
from shardpipe.core.weights import Weights
from shardpipe.models.weights import pull, resolve, sha256_of, state
weights = Weights("head", sys.argv[2], sha256=sys.argv[3] if len(sys.argv) > 3 else None)
told = []
try:
    if sys.argv[1] == "pull":
        pull(weights, lambda done, total: told.append([done, total]))
    path = resolve(weights) if sys.argv[1] != "state" else None
    found = state(weights)
    print(json.dumps({"path": str(path or found.path), "where": found.where, "sha256": found.sha256, "told": told, "reason": found.reason}))
except ShardpipeError as error:
    print(json.dumps({"error": f"{type(error).__name__}: {error}", "where": state(weights).where}))
"""


def ask(server: Files, folder: Path, *words: str, **env: str) -> dict[str, Any]:
    own = {
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
        **env,
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", ASK, *words], env={**inherited, **own}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
