"""How backbones are named, and the files that they take."""

from pathlib import Path

import pytest
import torch
from support.tiny_clip import clip_folder

from shardpipe.models.backbone import Backbone, OwnBackbone, parse_backbone, tokenizer_repository
from shardpipe.models.imports import import_model_library


@pytest.mark.parametrize(
    ("name", "kind", "urls"),
    [
        ("ViT-L-14/openai", "named", ["open_clip:ViT-L-14/openai"]),
        (
            "hf-hub:timm/ViT-B-16-SigLIP",
            "hub",
            [
                "hf://timm/ViT-B-16-SigLIP/open_clip_config.json",
                "hf://timm/ViT-B-16-SigLIP/open_clip_model.safetensors",
            ],
        ),
        ("/models/clip/", "folder", ["/models/clip/open_clip_config.json", "/models/clip/open_clip_model.safetensors"]),
        ("./clip", "folder", ["clip/open_clip_config.json", "clip/open_clip_model.safetensors"]),
        (OwnBackbone(model="ViT-B-32", weights="s3://b/my.pt", like="openai"), "own", ["s3://b/my.pt"]),
    ],
)
def test_names(name: str | OwnBackbone, kind: str, urls: list[str]) -> None:
    backbone = parse_backbone(name)
    assert backbone.kind == kind
    assert [weights.url for weights in backbone.files] == urls
    assert len({weights.role for weights in backbone.text_files}) == len(backbone.text_files)


@pytest.mark.parametrize("name", ["ViT-L-14", "", "clip/a/b", "hf-hub:name", "s3://bucket/clip", "ViT L/openai"])
def test_other_names_are_refused_with_what_to_write(name: str) -> None:
    with pytest.raises(ValueError, match="hf-hub:ORGANISATION/NAME"):
        parse_backbone(name)


def test_licence_and_source_of_the_default_are_known() -> None:
    (weights,) = parse_backbone("ViT-L-14/openai").files
    assert (weights.role, weights.licence) == ("backbone", "MIT")
    assert parse_backbone("ViT-B-32/no_such").files[0].licence == "unknown"


@pytest.mark.parametrize(
    "name",
    [
        "ViT-L-14/openai",
        "ViT-L-14-336/openai",
        "ViT-B-16/openai",
        "ViT-B-32-quickgelu/openai",
        "ViT-B-16-SigLIP/webli",
        "ViT-L-16-SigLIP2-384/webli",
    ],
)
def test_the_source_is_the_page_where_open_clip_has_it(name: str) -> None:
    open_clip = import_model_library("open_clip")
    repository = open_clip.get_pretrained_cfg(*name.split("/"))["hf_hub"].rstrip("/")
    assert parse_backbone(name).files[0].source == f"https://huggingface.co/{repository}"


def test_the_size_is_that_of_the_parameters() -> None:
    open_clip = import_model_library("open_clip")
    config = open_clip.get_model_config("ViT-B-32")
    with torch.device("meta"):
        model = open_clip.model.CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"])
    num_bytes = sum(4 * each.numel() for each in model.parameters())
    assert parse_backbone("ViT-B-32-quickgelu/openai").files[0].num_bytes == num_bytes


def test_a_folder_is_the_same_however_it_is_written() -> None:
    assert parse_backbone("./models/clip/") == parse_backbone("./models//clip")
    assert parse_backbone("~/clip").model == str(Path.home() / "clip")


def test_a_folder_names_the_checkpoint_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "open_clip_pytorch_model.bin").touch()
    (tmp_path / "tokenizer.json").touch()
    backbone = parse_backbone(str(tmp_path))
    assert Path(backbone.files[1].url).name == "open_clip_pytorch_model.bin"
    assert [weights.role for weights in backbone.text_files] == ["config", "backbone", "tokenizer"]


def test_a_folders_place_is_no_part_of_its_identity(tmp_path: Path) -> None:
    first, second = (parse_backbone(clip_folder(tmp_path / name)) for name in "ab")
    assert first != second
    assert first.identity == second.identity
    assert (
        Backbone("named", "ViT-L-14", "openai").identity != Backbone("named", "ViT-L-14", "laion2b_s32b_b82k").identity
    )


def test_the_tokenizers_of_siglip_architectures_are_those_that_open_clip_names() -> None:
    open_clip = import_model_library("open_clip")
    known = [name for name in open_clip.list_models() if "SigLIP" in name]
    assert len(known) > 20
    for name in known:
        assert tokenizer_repository(name) == open_clip.get_model_config(name)["text_cfg"]["hf_tokenizer_name"], name
    assert tokenizer_repository("ViT-L-14") is None


def test_the_side_of_every_architecture_is_known_without_its_config() -> None:
    """So that frames can be asked for where open_clip is not installed; too large a side costs time, too small a one is refused."""
    open_clip = import_model_library("open_clip")
    wrong = {}
    for name in open_clip.list_models():
        side = open_clip.get_model_config(name)["vision_cfg"].get("image_size", 224)
        found = parse_backbone(f"{name}/x").image_side
        assert found >= side, name
        if found > side:
            wrong[name] = found
    assert all(name == "ViTamin-XL-384" or name.startswith(("MobileCLIP", "convnext", "nllb")) for name in wrong), wrong


@pytest.mark.parametrize(
    ("repository", "side"),
    [
        ("timm/ViT-SO400M-14-SigLIP-384", 384),
        ("apple/DFN5B-CLIP-ViT-H-14-378", 378),
        ("laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K", 256),
        ("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", 224),
        ("laion/CLIP-convnext_base_w_320-laion_aesthetic-s13B-b82K", 320),
        ("laion/CLIP-convnext_large_d.laion2B-s26B-b102K-augreg", 256),
        ("timm/vit_large_patch14_clip_336.openai", 336),
        ("jienengchen/ViTamin-L-336px", 336),
    ],
)
def test_the_side_of_a_hub_repository_is_read_from_its_name(repository: str, side: int) -> None:
    assert parse_backbone(f"hf-hub:{repository}").image_side == side


def test_the_side_of_a_folder_is_that_of_its_config(tmp_path: Path) -> None:
    assert parse_backbone(clip_folder(tmp_path, image_size=32)).image_side == 32
    assert parse_backbone(str(tmp_path / "none")).image_side == 224
