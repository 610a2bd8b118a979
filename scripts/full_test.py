"""Runs all tests, slow ones too, and writes what they counted to docs/full-test.md."""

import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "docs" / "full-test.md"


def main(arguments: list[str]) -> int:
    junit, of_vllm = ROOT / "build" / "full-test.xml", ROOT / "build" / "full-test-vllm.xml"
    junit.parent.mkdir(exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-vv",
        "-n",
        "2",
        "--dist",
        "loadgroup",
        "--timeout",
        "3600",
        "--durations",
        "30",
    ]
    began = time.monotonic()
    code = subprocess.run([*command, f"--junitxml={junit}", *arguments], cwd=ROOT, check=False).returncode
    if arguments:
        return code
    of_vllm.unlink(missing_ok=True)
    vllm = [ROOT / "scripts" / "test_vllm", "-vv", f"--junitxml={of_vllm}"]
    code = subprocess.run(vllm, cwd=ROOT, check=False).returncode or code
    REPORT.write_text(summary([junit, of_vllm], time.monotonic() - began, code), encoding="utf-8")
    return code


def summary(reports: list[Path], seconds: float, code: int) -> str:
    """A Markdown page: counts by folder, and everything that did not pass."""
    cases = [case for junit in reports if junit.exists() for case in ET.parse(junit).getroot().iter("testcase")]  # noqa: S314  our own pytest wrote it
    folders: dict[str, list[int]] = {}
    odd = []
    for case in cases:
        where = case.get("classname", "").removeprefix("tests.").split(".")[0]
        counts = folders.setdefault(where, [0, 0, 0])
        problem = next((child for child in case if child.tag in ("failure", "error")), None)
        skipped = case.find("skipped")
        counts[1 if problem is not None else 2 if skipped is not None else 0] += 1
        if problem is not None or skipped is not None:
            found = problem if problem is not None else skipped
            assert found is not None
            odd.append(f"* {case.get('classname')}::{case.get('name')}: {found.tag}: {found.get('message', '')[:200]}")
    lines = [
        "# The last full test run",
        "",
        (
            f"`scripts/test --full`: exit {code}, {seconds / 60:.0f} minutes, Python {platform.python_version()}, "
            f"av {version('av')}, pyarrow {version('pyarrow')}, opencv {version('opencv-python-headless')}."
        ),
        "",
        "| tests | passed | failed | skipped |",
        "|---|---|---|---|",
        *(f"| {name} | {a} | {b} | {c} |" for name, (a, b, c) in sorted(folders.items())),
        "",
        *(["Not passed:", "", *odd] if odd else ["Everything passed."]),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
