"""The scripts that users and CI call, as far as they can be tried without installing anything."""

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """scripts/benchmarks/main.py with two benchmarks that measure nothing, and that of a GPU, of which there is none."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "benchmarks"))
    main, gpu = importlib.import_module("main"), importlib.import_module("gpu")

    def fake(name: str, value: float) -> Any:
        return lambda table, *, rounds: table.add(name, value, at_most=2.0, note=f"{rounds} rounds")

    monkeypatch.setattr(gpu, "missing", lambda: "no CUDA")
    monkeypatch.setattr(main, "BENCHMARKS", {"good": fake("good", 1.0), "bad": fake("bad", 3.0), "gpu": gpu.bench})
    yield main
    for name in set(sys.modules) - before:
        if "benchmarks" in str(getattr(sys.modules[name], "__file__", "")):  # they have names such as `cut`
            del sys.modules[name]


def test_bench_runs_all_or_those_that_are_named(bench: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    assert bench.main(["--json", str(path)]) == 1
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert [row["ok"] for row in rows] == [True, False, None, None, None]
    assert bench.main(["good", "--rounds", "1", "--json", str(path)]) == 0
    (row,) = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert (row["value"], row["at_most"], row["note"]) == (1.0, 2.0, "1 rounds")


def test_what_needs_a_gpu_is_skipped_with_a_line(bench: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["gpu"]) == 0
    assert capsys.readouterr().out.count("skipped: no CUDA") == 3


@pytest.mark.parametrize("words", [["nope"], ["good", "--rounds", "0"]])
def test_bench_refuses_what_it_does_not_know(words: list[str], bench: ModuleType) -> None:
    with pytest.raises(SystemExit) as stopped:
        bench.main(words)
    assert stopped.value.code == 2


@pytest.fixture
def setup(tmp_path: Path) -> Any:
    """Runs scripts/setup in a folder of its own, with a space in its name, from elsewhere: (exit code, stderr)."""
    folder = tmp_path / "a folder"
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "setup", folder / "scripts")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)

    def run(python: str) -> tuple[int, str]:
        fake = tmp_path / "python"
        fake.write_text(f"#!/bin/sh\n{python}\n", encoding="utf-8")
        fake.chmod(0o755)
        done = subprocess.run(
            [folder / "scripts" / "setup"], cwd="/", env={"PATH": "/usr/bin:/bin", "PYTHON": str(fake)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stderr

    return run


def test_setup_names_the_python_that_is_too_old(setup: Any) -> None:
    code, err = setup("exit 1")
    assert code == 1
    assert "needs Python 3.11 or newer" in err


def test_setup_does_not_go_on_with_a_half_made_environment(setup: Any) -> None:
    """Debian without python3-venv leaves an environment that has no pip."""
    half = f'if [ "$1" = -m ]; then "{sys.executable}" -m venv --without-pip .venv; exit 1; fi; exec "{sys.executable}" "$@"'
    for _ in range(2):
        code, err = setup(half)
        assert code == 1
        assert "apt install python3-venv" in err
