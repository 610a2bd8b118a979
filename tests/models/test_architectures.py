"""What open_clip has by name, known without importing it; and that a config with a misspelt name is refused at once."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from shardpipe.cli.app import run_app
from shardpipe.models.architectures import architectures, width_of
from shardpipe.models.imports import import_model_library

CODE = """
import sys
from shardpipe.models.architectures import architectures, unknown, width_of
print(len(architectures() or ()), width_of("ViT-B-32"), unknown("ViT-B23", None), "torch" in sys.modules, sep="|")
"""


def test_names_and_widths_are_those_of_open_clip() -> None:
    open_clip = import_model_library("open_clip")
    assert architectures() == open_clip.list_models()
    for name in open_clip.list_models():
        assert width_of(name) == open_clip.get_model_config(name)["embed_dim"], name


def test_it_is_not_imported_for_that() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    num, width, fault, has_torch = done.stdout.strip().split("|")
    assert int(num) == len(import_model_library("open_clip").list_models())
    assert (width, has_torch) == ("512", "False")
    assert fault.startswith("open_clip has no model 'ViT-B23' (did you mean ViT-B-")


def test_where_it_is_not_installed_nothing_is_refused() -> None:
    code = f"import sys; sys.modules['torch'] = sys.modules['open_clip'] = None\n{CODE}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("0|None|None|")


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (
            {"type": "embed", "backbone": {"model": "ViT-L14", "weights": "x.pt"}},
            "no model 'ViT-L14' (did you mean ViT-L-14 or",
        ),
        (
            {"type": "embed", "backbone": {"model": "ViT-B-32", "weights": "x.pt", "like": "opnai"}},
            "no weights 'opnai' of ViT-B-32 (did you mean openai?): it has openai, ",
        ),
        ({"type": "embed", "backbone": "ViT-L14/openai"}, "no model 'ViT-L14' (did you mean ViT-L-14 or"),
        (
            {"type": "aes", "backbone": "ViT-B-32/openai"},
            "takes embeddings of width 768, and those of ViT-B-32 are 512 wide",
        ),
    ],
)
def test_a_plan_refuses_what_open_clip_does_not_have(
    stage: dict[str, object], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.mp4").touch()
    cut = {"sources": str(tmp_path / "a.mp4"), "scenes": {"type": "none"}}
    passes = [{"name": "score", "from": "clips", "stages": [stage], "emit": "rows"}]
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"root": str(tmp_path / "root"), "cut": cut, "passes": passes}))
    for command in ("plan", "run"):
        assert run_app([command, str(path)]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "root").exists()
