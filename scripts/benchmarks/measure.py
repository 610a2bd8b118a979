"""How the benchmarks measure: CPU seconds of whole process trees, medians of several rounds, ratios within a round."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SHARDPIPE = str(Path(sys.executable).parent / "shardpipe")


@dataclass(frozen=True)
class Cost:
    """What a command took, all its processes together."""

    cpu_s: float
    wall_s: float
    peak_bytes: int


def run(command: Sequence[str], **environment: str) -> Cost:
    """Run a command to its end; raises CalledProcessError (with its output shown) if it fails."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            list(command), cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)  # of this command and its own processes alone
        process.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.monotonic() - began
        if process.returncode != 0:
            output.seek(0)
            shutil.copyfileobj(output, sys.stderr.buffer)
            raise subprocess.CalledProcessError(process.returncode, list(command))
    return Cost(usage.ru_utime + usage.ru_stime, wall_s, usage.ru_maxrss * 1024)


def python(code: str, *arguments: str) -> Cost:
    """Run Python code in a fresh interpreter."""
    return run([sys.executable, "-c", code, *arguments])


def inner(code: str, *arguments: str) -> float:
    """A number that Python code in a fresh interpreter prints as its last line."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout.strip().splitlines()[-1])


def median_of(rounds: int, measure: Callable[[], float]) -> float:
    """The median of several measurements."""
    return statistics.median(measure() for _ in range(rounds))


@dataclass
class Table:
    """Results: a name, the measured value, and the bar it must reach. What was skipped has no value, and `ok` null."""

    rows: list[dict[str, object]] = field(default_factory=list)

    @property
    def missed(self) -> list[str]:
        """The names of the results that do not reach their bar."""
        return [str(row["name"]) for row in self.rows if row["ok"] is False]

    def add(
        self, name: str, value: float, *, at_most: float | None = None, at_least: float | None = None, note: str = ""
    ) -> None:
        """One line; printed at once."""
        good = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
        self._row(name, round(value, 4), at_most, at_least, ok=good, note=note)
        print(f"{name:62} {value:9.3f}  {_bar(at_most, at_least):9} {'' if good else 'MISSED'}  {note}", flush=True)

    def skip(self, name: str, *, at_most: float | None = None, at_least: float | None = None, why: str) -> None:
        """A line for what cannot be measured here."""
        self._row(name, None, at_most, at_least, ok=None, note=f"skipped: {why}")
        print(f"{name:62} {'-':>9}  {_bar(at_most, at_least):9} skipped: {why}", flush=True)

    def _row(
        self,
        name: str,
        value: float | None,
        at_most: float | None,
        at_least: float | None,
        *,
        ok: bool | None,
        note: str,
    ) -> None:
        self.rows.append(
            {"name": name, "value": value, "at_most": at_most, "at_least": at_least, "ok": ok, "note": note}
        )

    def write(self, path: Path) -> None:
        """The table as JSON, with what it was measured on."""
        about = {"cores": os.cpu_count(), "python": sys.version.split()[0]}
        path.write_text(json.dumps({"about": about, "rows": self.rows}, indent=1) + "\n", encoding="utf-8")


def _bar(at_most: float | None, at_least: float | None) -> str:
    return f"<= {at_most:g}" if at_most is not None else f">= {at_least:g}" if at_least is not None else ""
