"""The docs are true: generated pages fresh, code blocks right, links alive, commands and stages documented."""

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from shardpipe.cli.app import COMMANDS, build_app
from shardpipe.config.load import load_config, parse_config
from shardpipe.config.registry import detector_types, stage_types
from shardpipe.core.clip import CLIP_COLUMNS
from shardpipe.core.stage import Stage
from shardpipe.engine.expression import parse
from shardpipe.executors.plan import plan_config

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```([a-z]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`]+)`")
CLIPS = {"root": "x", "cut": {"sources": "videos", "scenes": {"type": "fixed", "every_s": 5}}}
LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)]*)?\)")


def blocks(language: str) -> Iterator[Any]:
    for page in PAGES:
        if page.name == "write-a-stage.md":  # tests/docs runs it all
            continue
        for i, (found, text) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8"))):
            if found == language:
                yield pytest.param(text, id=f"{page.relative_to(ROOT)}-{i}")


def test_generated_pages_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/generate_docs.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_block_has_a_language_that_is_checked() -> None:
    known = {"", "text", "bash", "yaml", "python", "toml"}
    for page in PAGES:
        assert {language for language, _ in BLOCK.findall(page.read_text(encoding="utf-8"))} <= known, page


@pytest.mark.parametrize("text", list(blocks("yaml")))
def test_yaml_blocks_are_configs(text: str) -> None:
    values = yaml.safe_load(text)
    if "root" in values:
        parse_config(values)
    else:  # a part of a config, shown alone
        parse_config(CLIPS | values)


@pytest.mark.parametrize("text", [each for each in blocks("yaml") if "passes:" in str(each.values)])
def test_yaml_blocks_have_the_columns_that_they_name(text: str, tmp_path: Path) -> None:
    values = CLIPS | yaml.safe_load(text)
    for stage in [stage for each in values["passes"] for stage in each.get("stages", [])]:
        if "model" in stage:
            stage |= {"engine": "openai", "base_url": "http://127.0.0.1:9/v1"}  # nothing to pull
    video = ROOT / "tests" / "assets" / "videos" / "carphone_pristine.mp4"
    values |= {"root": str(tmp_path), "cut": {"scenes": {"type": "none"}, "sources": str(video)}}
    assert plan_config(parse_config(values)).phases


@pytest.mark.parametrize("text", list(blocks("bash")))
def test_bash_blocks_are_commands_that_exist(text: str) -> None:
    group: Any = typer.main.get_command(build_app())
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words or words[0] in ("pip", "pytest", "cd", "export"):
            continue
        if words[0] != "shardpipe":
            assert (ROOT / words[0]).is_file(), line
            continue
        command = group.commands[words[1]]
        command.make_context(words[1], words[2:])  # raises on an unknown option or a missing argument


@pytest.mark.parametrize("text", list(blocks("python")))
def test_python_blocks_compile_and_their_imports_exist(text: str) -> None:
    tree = ast.parse(text)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    ours = [node for node in imports if "my_" not in ast.unparse(node) and "shardpipe.testing" not in ast.unparse(node)]
    exec(compile(ast.Module(ours, []), "block", "exec"), {})  # noqa: S102  our own docs
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "shardpipe"
    }
    import shardpipe

    assert all(hasattr(shardpipe, name) for name in used)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, _ in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_command_is_documented_and_has_help() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    group: Any = typer.main.get_command(build_app())
    assert list(group.commands) == list(COMMANDS)
    for name, command in group.commands.items():
        assert f"## {name}\n" in page
        assert command.help
        assert all(each.help for each in command.params), name


def test_every_stage_and_detector_is_documented() -> None:
    page = (ROOT / "docs" / "stages.md").read_text(encoding="utf-8")
    for name, kind in (stage_types() | detector_types()).items():
        assert f"### {name}\n" in page
        assert kind.__doc__, name


@pytest.mark.parametrize("name", sorted(stage_types()))
def test_every_stage_says_what_it_costs_and_shows_rules(name: str) -> None:
    doc = stage_types()[name].__doc__ or ""
    assert "Cost:" in doc
    _, found, rest = doc.partition("Example rule")
    for rule in CODE.findall(rest):
        parse(rule)
    assert found or "rule" in doc.lower()


def here() -> Iterator[Any]:
    """What docs/open-sora.md gives in place of each command of Open-Sora."""
    page = (ROOT / "docs" / "open-sora.md").read_text(encoding="utf-8").partition("## Its columns")[0]
    for line in page.splitlines():
        if line.startswith("| `"):
            for span in CODE.findall(line.replace("\\|", "\0").split("|")[2].replace("\0", "|")):
                yield pytest.param(span, id=span)


@pytest.mark.parametrize("text", list(here()))
def test_what_replaces_a_script_is_there(text: str) -> None:
    words = shlex.split(text) if text.startswith("shardpipe ") else []
    if words:
        group: Any = typer.main.get_command(build_app())
        group.commands[words[1]].make_context(words[1], words[2:])
    elif text.startswith("{type:"):
        one = {"name": "score", "from": "clips", "stages": [yaml.safe_load(text)], "emit": "rows"}
        parse_config(CLIPS | {"passes": [one]})
    elif re.match(r"(cut\.)?scenes: |threshold: ", text):
        scenes = text.split("scenes: ", 1)[-1] if "{" in text else f"{{type: adaptive, {text}}}"
        parse_config(CLIPS | {"cut": {"sources": "videos", "scenes": yaml.safe_load(scenes)}})
    elif re.match(r"(cut\.)?write: ", text):
        parse_config(CLIPS | {"cut": CLIPS["cut"] | {"write": yaml.safe_load(text.split("write: ", 1)[1])}})  # type: ignore[operator]
    elif text.startswith("cut.captions: "):
        parse_config(CLIPS | {"cut": CLIPS["cut"] | {"captions": yaml.safe_load(text.split(": ", 1)[1])}})  # type: ignore[operator]
    elif text.startswith(("emit: ", "shard_bytes: ")):
        one = {"name": "train", "from": "clips", "emit": "shards"} | yaml.safe_load(text.replace("...", "codec"))
        parse_config(CLIPS | {"passes": [one]})
    elif re.search(r"[<>=(]| IN ", text):
        parse(text)
    else:
        assert re.fullmatch(r"[\w.:? -]+|cut\.sources: FOLDER", text), text


def test_the_columns_that_replace_open_soras_are_there() -> None:
    page = (ROOT / "docs" / "open-sora.md").read_text(encoding="utf-8").partition("## Its columns")[2]
    table = [line.split("|")[2] for line in page.partition("## ")[0].splitlines() if line.startswith("| `")]
    stages: list[Stage] = [
        kind.model_validate({"model": "org/name"} if "model" in kind.model_fields else {})
        for name, kind in stage_types().items()
        if name not in ("classify", "ask", "merge")
    ]
    known = {*CLIP_COLUMNS, "text", "error", "flow", *(name for stage in stages for name in stage.writes)}
    named = {span for cell in table for span in CODE.findall(cell) if re.fullmatch(r"[a-z]\w*", span)}
    assert named - known <= {"npy"}


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_configs_are_right(path: Path) -> None:
    load_config(path)


def test_nothing_names_a_folder_of_the_machine_that_it_was_made_on() -> None:
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    parent = f"{ROOT.parent}/"
    for name in files:
        path = ROOT / name
        if path.suffix in (".md", ".py", ".yaml", ".toml", ".txt", "") and path.is_file():
            assert parent not in path.read_text(encoding="utf-8"), name
