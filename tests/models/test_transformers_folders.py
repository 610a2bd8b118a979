"""Folders that the engine of transformers cannot answer from: told when it is opened."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.in_process import Opened

from shardpipe.core.errors import ConfigError


@pytest.fixture
def opened() -> Iterator[Opened]:
    opened = Opened()
    yield opened
    for engine in opened.engines:
        engine.close()


def test_a_model_that_does_not_fit_is_told_at_once(llm: Path, vlm: Path, opened: Opened, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Qwen2ForCausalLM takes no images"):
        opened(llm)
    with pytest.raises(ConfigError, match="may not hold trust_remote_code"):
        opened(vlm, args_json='{"trust_remote_code": true}')
    broken = shutil.copytree(vlm, tmp_path / "broken")
    (broken / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="transformers cannot load"):
        opened(broken)
    mute = shutil.copytree(llm, tmp_path / "mute")
    (mute / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="chat template cannot be used"):
        opened(mute, max_images=0)


def test_a_folder_that_lacks_a_part_is_told_at_once(llm: Path, vlm: Path, opened: Opened, tmp_path: Path) -> None:
    """Not clip by clip, nor by captions of random weights."""
    cut, other, speechless = (shutil.copytree(vlm, tmp_path / name) for name in ("cut", "other", "speechless"))
    (cut / "model.safetensors").write_bytes((vlm / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(ConfigError, match="transformers cannot load"):
        opened(cut)
    shutil.copy(llm / "model.safetensors", other)
    with pytest.raises(ConfigError, match=r"lacks \d+ weights of a Qwen2VLForConditionalGeneration, such as"):
        opened(other)
    for part in speechless.glob("tokenizer*"):
        part.unlink()
    with pytest.raises(ConfigError, match="holds no tokenizer"):
        opened(speechless)
