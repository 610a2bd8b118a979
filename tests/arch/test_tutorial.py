"""docs/write-a-stage.md, followed to the letter: a package with its class, its entry point and its test."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "write-a-stage.md"


def test_the_tutorial_works(tmp_path: Path) -> None:
    found = re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    stage, test = [text for language, text in found if language == "python"]
    points = tomllib.loads(next(text for language, text in found if language == "toml"))["project"]["entry-points"]
    (tmp_path / "my_stages").mkdir()
    (tmp_path / "my_stages" / "brightness.py").write_text(stage)
    (tmp_path / "test_brightness.py").write_text(test)
    info = tmp_path / "my_stages-0.1.dist-info"  # what an install leaves
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-stages\nVersion: 0.1\n")
    lines = [f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in names.items()) for group, names in points.items()]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")

    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    for command in (["pytest", "-q", "-p", "no:cacheprovider", "."], ["shardpipe", "stages", "my_brightness"]):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "frames looked at, spread over the clip" in done.stdout
