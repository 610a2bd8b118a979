"""docs/write-a-stage.md, followed to the letter in an empty folder: its files written, its commands run, its output compared."""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "write-a-stage.md"
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`(?P<name>[\w./-]+)`:\n\n\Z")  # the words before a block that is a file


def environment(folder: Path) -> dict[str, str]:
    """As in a fresh environment with shardpipe: what the page installs goes to `folder`/.prefix, and nothing is downloaded."""
    prefix = folder / ".prefix"
    site = sysconfig.get_path("purelib", vars={"base": str(prefix), "platbase": str(prefix)})
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(folder), site]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PIP_PREFIX": str(prefix),
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it the other way round
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def test_the_tutorial_works(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    env = environment(tmp_path)
    output = ""
    commands = 0
    for block in BLOCK.finditer(text):
        named = FILE.search(text, 0, block.start())
        if named:
            path = tmp_path / named["name"]
            path.parent.mkdir(exist_ok=True)
            path.write_text(block["text"], encoding="utf-8")
        elif block["language"] == "bash":
            for command in block["text"].splitlines():
                done = subprocess.run(
                    ["bash", "-c", command], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
                output = done.stdout
                commands += 1
        else:
            assert block["language"] == "text", f"not run by this test:\n{block['text']}"
            assert output.split() == block["text"].split()
    assert commands >= 6
    assert list((tmp_path / "run" / "train" / "shards").glob("train-*.tar"))
