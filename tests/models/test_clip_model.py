"""Building models from files: what is read, what is refused, and that nothing else of the process changes."""

import json
import logging
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny_clip import WIDTH, clip_folder, randomized

from shardpipe.core.errors import ConfigError
from shardpipe.models.backbone import Backbone, OwnBackbone, parse_backbone
from shardpipe.models.clip_model import embedding_width, load_model, load_tokenizer, recipe
from shardpipe.models.imports import import_model_library
from shardpipe.models.weights import resolve


def files_of(backbone: Backbone) -> dict[str, Path]:
    return {weights.role: resolve(weights) for weights in backbone.text_files}


def loaded(folder: str) -> Any:
    return load_model(parse_backbone(folder), files_of(parse_backbone(folder)))


def test_all_weights_are_those_of_the_file(tmp_path: Path) -> None:
    folder = clip_folder(tmp_path)
    state = load_file(tmp_path / "open_clip_model.safetensors")
    found = loaded(folder).state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    assert embedding_width(parse_backbone(folder), files_of(parse_backbone(folder))) == WIDTH


def test_a_torch_file_of_an_older_kind_is_read(tmp_path: Path) -> None:
    folder = clip_folder(tmp_path)
    state = load_file(tmp_path / "open_clip_model.safetensors")
    (tmp_path / "open_clip_model.safetensors").unlink()
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}},
        tmp_path / "open_clip_pytorch_model.bin",
    )
    assert torch.equal(loaded(folder).state_dict()["visual.proj"], state["visual.proj"])


def test_only_the_file_that_was_resolved_is_read(tmp_path: Path) -> None:
    folder, other = clip_folder(tmp_path / "a"), clip_folder(tmp_path / "b", seed=7)
    files = files_of(parse_backbone(folder)) | {"backbone": Path(other) / "open_clip_model.safetensors"}
    found = load_model(parse_backbone(folder), files).state_dict()
    assert torch.equal(found["visual.proj"], load_file(files["backbone"])["visual.proj"])


def test_another_models_file_is_refused(tmp_path: Path) -> None:
    folder, other = clip_folder(tmp_path / "a"), clip_folder(tmp_path / "b", image_size=32, text={"layers": 3})
    files = files_of(parse_backbone(folder)) | {"backbone": Path(other) / "open_clip_model.safetensors"}
    with pytest.raises(ConfigError, match="no checkpoint of this model"):
        load_model(parse_backbone(folder), files)


def test_positions_are_not_interpolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_clip = import_model_library("open_clip")
    folder, other = clip_folder(tmp_path / "a"), clip_folder(tmp_path / "b", image_size=80)
    config = json.loads((tmp_path / "b" / "open_clip_config.json").read_text())["model_cfg"]
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-tiny-80", config)
    files = files_of(parse_backbone(folder)) | {"backbone": Path(other) / "open_clip_model.safetensors"}
    message = (
        r"positional_embedding is \[26, 32\], and that of this model is \[10, 32\]; .*of 80 pixels, as ViT-tiny-80 is"
    )
    with pytest.raises(ConfigError, match=message):
        load_model(parse_backbone(folder), files)
    loaded(folder)  # nothing of open_clip has changed
    assert open_clip.factory.resize_pos_embed is open_clip.model.resize_pos_embed


def test_nor_those_of_texts(tmp_path: Path) -> None:
    folder, other = clip_folder(tmp_path / "a"), clip_folder(tmp_path / "b", text={"context_length": 40})
    files = files_of(parse_backbone(folder)) | {"backbone": Path(other) / "open_clip_model.safetensors"}
    with pytest.raises(
        ConfigError, match=r"its positional_embedding is \[40, 32\], and that of this model is \[77, 32\]$"
    ):
        load_model(parse_backbone(folder), files)


def test_a_pickle_with_code_is_refused(tmp_path: Path) -> None:
    folder = clip_folder(tmp_path)
    (tmp_path / "open_clip_model.safetensors").unlink()
    torch.save({"a": Path("x")}, tmp_path / "open_clip_pytorch_model.bin")
    with pytest.raises(ConfigError, match="code in a pickle"):
        loaded(folder)


@pytest.mark.parametrize("written", ["no json", "[]", "{}", '{"model_cfg": {"embed_dim": 3}}'])
def test_a_config_that_is_none_is_refused(tmp_path: Path, written: str) -> None:
    folder = clip_folder(tmp_path)
    (tmp_path / "open_clip_config.json").write_text(written)
    with pytest.raises(ConfigError, match=r"open_clip_config\.json"):
        loaded(folder)


def test_unknown_models_and_tags_are_named_with_what_there_is() -> None:
    with (
        pytest.raises(ConfigError, match=r"no model ViT-L-15.*ViT-L-14"),
        recipe(parse_backbone("ViT-L-15/openai"), {}),
    ):
        pass
    with pytest.raises(ConfigError, match=r"no weights nobody.*openai"), recipe(parse_backbone("ViT-L-14/nobody"), {}):
        pass


def test_published_weights_get_the_activation_and_preprocessing_that_they_were_trained_with() -> None:
    with recipe(parse_backbone("ViT-L-14/openai"), {}) as found:
        assert found.quick_gelu  # open_clip's ViT-L-14 alone has another activation
    with recipe(parse_backbone("ViT-L-14/laion2b_s32b_b82k"), {}) as found:
        assert not found.quick_gelu
        assert found.preprocess["mean"] == (0.5, 0.5, 0.5)
    with recipe(parse_backbone("ViT-B-16-SigLIP/webli"), {}) as found:
        assert found.preprocess["resize_mode"] == "squash"


def test_own_weights_get_those_of_like_or_what_all_published_ones_share() -> None:
    def of(model: str, like: str | None = None) -> Any:
        with recipe(parse_backbone(OwnBackbone(model=model, weights="x", like=like)), {}) as found:
            return found

    assert of("ViT-L-14", "openai").quick_gelu
    assert not of("ViT-L-14").quick_gelu
    assert "mean" not in of("ViT-L-14").preprocess  # its published weights differ: CLIP's own
    assert of("ViT-B-16-SigLIP").preprocess["resize_mode"] == "squash"


def test_own_weights_of_a_known_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where open_clip knows the tiny architecture by name, only the checkpoint is needed."""
    open_clip = import_model_library("open_clip")
    folder = clip_folder(tmp_path)
    config = json.loads((tmp_path / "open_clip_config.json").read_text())["model_cfg"]
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-tiny", config)
    backbone = parse_backbone(OwnBackbone(model="ViT-tiny", weights=str(tmp_path / "open_clip_model.safetensors")))
    state = load_model(backbone, files_of(backbone)).state_dict()
    assert torch.equal(state["visual.proj"], loaded(folder).state_dict()["visual.proj"])
    assert embedding_width(backbone, {}) == WIDTH


def test_a_text_model_that_would_be_downloaded_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {"hf_model_name": "roberta-base"}}})
    )
    with pytest.raises(ConfigError, match=r"roberta-base.*would download"):
        load_model(parse_backbone(str(tmp_path)), {"config": tmp_path / "open_clip_config.json"})


def test_nothing_else_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = clip_folder(tmp_path)
    before, handlers, filters = torch.get_rng_state(), list(logging.root.handlers), list(logging.root.filters)

    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    loaded(folder)
    load_tokenizer(parse_backbone(folder), files_of(parse_backbone(folder)))
    assert torch.equal(torch.get_rng_state(), before)
    assert (logging.root.handlers, logging.root.filters) == (handlers, filters)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_the_published_names_and_shapes_of_clip_vit_l_14_load_unchanged(tmp_path: Path) -> None:
    """A safetensors file as the default backbone's: fp16, 428 million random numbers under the names of OpenAI's model."""
    open_clip = import_model_library("open_clip")
    shapes = open_clip.create_model("ViT-L-14", load_weights=False, force_quick_gelu=True).state_dict()
    names = set(shapes)
    assert {"visual.conv1.weight", "visual.proj", "visual.transformer.resblocks.23.mlp.c_proj.bias"} < names
    assert {"token_embedding.weight", "text_projection", "logit_scale", "transformer.resblocks.11.ln_2.bias"} < names
    assert shapes["visual.conv1.weight"].shape == (1024, 3, 14, 14)
    assert sum(tensor.numel() for tensor in shapes.values()) == 427_616_513
    path = tmp_path / "open_clip_model.safetensors"
    save_file({name: tensor.half() for name, tensor in randomized(shapes).items()}, path)
    del shapes
    model = load_model(parse_backbone("ViT-L-14/openai"), {"backbone": path})
    written = load_file(path)
    found = model.state_dict()
    assert found.keys() == written.keys()
    assert all(torch.equal(found[name], tensor.float()) for name, tensor in written.items())
