"""Runs all tests, slow ones too, and writes what they counted to docs/full-test.md. That takes hours: one that was stopped with Ctrl-C goes on
where it was, as long as the commit is the same and nothing is changed; so does one of which tests failed.
"""

import platform
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "docs" / "full-test.md"
PARTS = ROOT / "build" / "full-test"
NOT_PASSED = {"failure", "error", "skipped"}
INTERRUPTED, NONE_LEFT = 2, 5
PYTEST = ["-vv", "-n", "2", "--dist", "loadgroup", "--timeout", "3600", "--durations", "30"]


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGINT, lambda *_: None)  # pytest hears it too, and writes down what has passed
    parts = parts_of(commit())
    junit, of_vllm, passed = parts / f"{time.time_ns()}.xml", parts / "vllm.xml", parts / "passed.txt"
    passed.write_text("".join(f"--deselect={name}\n" for name in sorted(passed_in(parts))), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", *PYTEST, f"--junitxml={junit}", f"@{passed}", *arguments]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    if code == NONE_LEFT and passed.read_text(encoding="utf-8"):
        code = 0
    if arguments or code == INTERRUPTED:
        return code
    vllm = [ROOT / "scripts" / "test_vllm", "-vv", f"--junitxml={of_vllm}"]
    code = subprocess.run(vllm, cwd=ROOT, check=False).returncode or code
    REPORT.write_text(summary(parts, code), encoding="utf-8")
    return code


def commit() -> str:
    """The commit that is tested; another name each time where files differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()

    head = git("rev-parse", "--short", "HEAD")
    return f"{head}-changed-{time.time_ns()}" if git("status", "--porcelain", "--", ".", f":!{REPORT}") else head


def parts_of(name: str) -> Path:
    """The folder of the reports of a commit; those of others go."""
    PARTS.mkdir(parents=True, exist_ok=True)
    for other in PARTS.iterdir():
        if other.name != name:
            shutil.rmtree(other)
    (PARTS / name).mkdir(exist_ok=True)
    return PARTS / name


def cases_in(parts: Path) -> dict[str, ET.Element]:
    """Each test by its node id, as it ended last."""
    found = {}
    for junit in sorted(parts.glob("*.xml")):
        for case in ET.parse(junit).getroot().iter("testcase"):  # noqa: S314  our own pytest wrote it
            if "classname" not in case.attrib:  # of a run that was stopped
                continue
            found[f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"] = case
    return found


def passed_in(parts: Path) -> set[str]:
    """The tests that need not be run again."""
    return {name for name, case in cases_in(parts).items() if not {each.tag for each in case} & NOT_PASSED}


def summary(parts: Path, code: int) -> str:
    """A Markdown page: counts by folder, and everything that did not pass."""
    cases = list(cases_in(parts).values())
    minutes = sum(float(case.get("time", 0)) for case in cases) / 60
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
            f"`scripts/test --full`, commit {parts.name}: exit {code}, {minutes:.0f} minutes of tests, Python {platform.python_version()}, "
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
