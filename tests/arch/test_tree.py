"""The shape of the code: file sizes, names, layers, public names."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import shardpipe

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 300
BAD_NAMES = {"utils.py", "helpers.py", "common.py", "misc.py", "manager.py"}
CODE = sorted(path for folder in ("shardpipe", "tests", "scripts") for path in (ROOT / folder).rglob("*.py"))


def test_no_file_is_longer_than_300_lines() -> None:
    long = {str(path.relative_to(ROOT)): n for path in CODE if (n := len(path.read_text().splitlines())) > MAX_LINES}
    assert long == {}


def test_no_file_is_a_drawer() -> None:
    assert [str(path.relative_to(ROOT)) for path in CODE if path.name in BAD_NAMES] == []


def test_every_module_says_what_it_holds() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "shardpipe").rglob("*.py")
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_layers() -> None:
    lint = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_is_exactly_what_can_be_imported() -> None:
    assert sorted(shardpipe.__all__) == sorted(shardpipe._HOME_OF)
    assert dir(shardpipe) == sorted(shardpipe.__all__)
    for name in shardpipe.__all__:
        assert getattr(shardpipe, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        shardpipe.nothing  # noqa: B018


def test_public_names_are_typed_as_they_are_found() -> None:
    """The imports that type checkers see name the same homes as the lazy table."""
    seen: dict[str, str] = {}
    tree = ast.parse((ROOT / "shardpipe" / "__init__.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("shardpipe."):
            seen |= {alias.name: node.module for alias in node.names}
    assert seen == shardpipe._HOME_OF


def test_import_shardpipe_imports_nothing_heavy() -> None:
    code = "import shardpipe, sys; print([m for m in ('numpy', 'pydantic', 'pyarrow', 'av') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "module", ["shardpipe.core.stage", "shardpipe.engine.emission.emit", "shardpipe.engine.cutting.cut"]
)
def test_core_and_cutting_run_without_torch(module: str) -> None:
    code = f"import sys; sys.modules['torch'] = None; import importlib; importlib.import_module({module!r})"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_threads_and_processes_start_where_they_may() -> None:
    allowed = {
        "threading.Thread": {"flow.py", "workerside.py", "decoders.py", "loop.py", "batchthread.py", "driver.py"},
        "subprocess": set(),
        "os.fork": set(),
    }
    for word, files in allowed.items():
        found = {path.name for path in (ROOT / "shardpipe").rglob("*.py") if word in path.read_text()}
        assert found <= files, f"{word} in {found - files}"


def test_every_entry_point_exists() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for group in project["entry-points"].values():
        for value in group.values():
            module, _, name = value.partition(":")
            assert hasattr(importlib.import_module(module), name), value
