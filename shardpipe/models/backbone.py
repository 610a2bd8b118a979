"""How a config names an image-text model of open_clip, and the files that it takes. All pure: planning needs no torch.

ViT-L-14/openai                          an architecture and a published tag of open_clip
hf-hub:timm/ViT-B-16-SigLIP              a repository on the Hugging Face hub
/models/clip                             a folder with open_clip_config.json and a checkpoint
{model: ViT-B-32, weights: my.pt}        one's own checkpoint of an architecture that open_clip knows
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shardpipe.core.weights import Weights, WeightsUrl

CONFIG = "open_clip_config.json"
CHECKPOINTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""What the checkpoint of a folder, or of one of open_clip's repositories, is called: the first that is there."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
ROLE = {CONFIG: "config", "tokenizer.json": "tokenizer", "tokenizer_config.json": "tokenizer_config"}

IMAGE_SIDE = 224
SIDE_IN_NAME = re.compile(r"[-_](\d{3})(?![\dA-Za-z])|[-_]\d{3}x(\d{3})-|-(\d{3})px")
SIDES = {"rn50x4": 288, "rn50x16": 384, "rn50x64": 448, "resnet50x4": 288, "resnet50x16": 384, "resnet50x64": 448,
         "convnext": 256, "mobileclip": 256, "coca_base": 288, "nllb-": 384}  # fmt: skip
"""Sides of the input of models that do not say it in their names, by what the lower-case name holds."""

HUB = "hf-hub:"
NAMED = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*\Z")
HUB_PAGE = "https://huggingface.co"
OPENAI = {"ViT-L-14": ("large_patch14_clip_224", 427_616_513), "ViT-L-14-336": ("large_patch14_clip_336", 427_944_193),
          "ViT-B-16": ("base_patch16_clip_224", 149_620_737), "ViT-B-32": ("base_patch32_clip_224", 151_277_313)}  # fmt: skip
"""Page and number of parameters of OpenAI's weights as tensors in fp32; its own files are programs, which are not read."""

FP32_BYTES = 4
A_FOLDER = "backbone=FOLDER"


class OwnBackbone(BaseModel):
    """A checkpoint of one's own, of an architecture that open_clip knows.

    `like` names a published tag of that architecture whose preprocessing and activation it was trained with. Without it
    the activation is the architecture's, and the preprocessing what all its published weights share, else CLIP's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="architecture, as open_clip names it: ViT-B-32")
    weights: WeightsUrl = Field(description="path or url of the checkpoint")
    like: str | None = Field(default=None, description="published tag whose preprocessing and activation it has")


BackboneName = str | OwnBackbone

Precision = Literal["auto", "fp32", "bf16", "fp16"]
"""The number format in which a model computes. `auto`: bf16 on a GPU that has it, else fp16; bf16 on a CPU that has it, else fp32."""


@dataclass(frozen=True)
class Backbone:
    """A parsed name. model: architecture, hub repository or folder. tag: of published weights. weights: of one's own."""

    kind: Literal["named", "hub", "folder", "own"]
    model: str
    tag: str | None = None
    weights: str | None = None

    def __str__(self) -> str:
        if self.kind == "own":
            return f"{self.model} with {self.weights}"
        return f"{self.model}/{self.tag}" if self.kind == "named" else self.model

    @property
    def identity(self) -> dict[str, Any]:
        """What determines its results beside the bytes of its files: not where they lie."""
        return {"kind": self.kind, **({} if self.kind == "folder" else {"model": self.model, "tag": self.tag})}

    @property
    def image_side(self) -> int:
        """The longer side of the pictures that it sees, in pixels: out of a folder's config, else as its name says.

        Of an unknown hub repository it may be wrong; whoever loads the model can tell.
        """
        if self.kind == "folder":
            return _configured_side(Path(self.model) / CONFIG)
        said = [int(number) for found in SIDE_IN_NAME.findall(self.model) for number in found if number]
        name = self.model.rpartition("/")[2].lower()
        return said[-1] if said else max((side for part, side in SIDES.items() if part in name), default=IMAGE_SIDE)

    @property
    def files(self) -> tuple[Weights, ...]:
        """The files of the model itself: `backbone`, and for a hub repository or folder its `config`."""
        match self.kind:
            case "named":
                setting = f"backbone={{model: {self.model}, weights: PATH, like: {self.tag}}}"
                url, published = f"open_clip:{self.model}/{self.tag}", _published(self.model, self.tag)
                return (Weights("backbone", url, setting=setting, **published),)
            case "own":
                return (Weights("backbone", self.weights or "", setting="backbone.weights=PATH"),)
            case "hub":
                repository = f"hf://{self.model}"
                return (
                    Weights("config", f"{repository}/{CONFIG}", setting=A_FOLDER, **_published(self.model, None)),
                    Weights(
                        "backbone", f"{repository}/{CHECKPOINTS[0]}", setting=A_FOLDER, **_published(self.model, None)
                    ),
                )
            case "folder":
                folder = Path(self.model)
                there = [name for name in CHECKPOINTS if (folder / name).is_file()]
                checkpoint = folder / (there or CHECKPOINTS)[0]
                return (
                    Weights("config", str(folder / CONFIG), setting=A_FOLDER),
                    Weights("backbone", str(checkpoint), setting=A_FOLDER),
                )

    @property
    def text_files(self) -> tuple[Weights, ...]:
        """The same, and the files of its tokenizer where that is not CLIP's, which comes inside open_clip."""
        match self.kind:
            case "folder":
                folder = Path(self.model)
                there = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
                return (*self.files, *(Weights(ROLE[path.name], str(path), setting=A_FOLDER) for path in there))
            case "hub":
                repository = self.model if "siglip" in self.model.lower() else None
            case _:
                repository = tokenizer_repository(self.model)
        if repository is None:
            return self.files
        published = _published(repository, None)
        return (
            *self.files,
            *(
                Weights(ROLE[name], f"hf://{repository}/{name}", setting=A_FOLDER, **published)
                for name in TOKENIZER_FILES
            ),
        )


def parse_backbone(name: BackboneName) -> Backbone:
    """The backbone that a config names; raises ValueError for a name of no known form."""
    if isinstance(name, OwnBackbone):
        return Backbone("own", name.model, tag=name.like, weights=name.weights)
    if name.startswith(HUB):
        repository = name.removeprefix(HUB)
        if not NAMED.match(repository):
            raise ValueError(f"backbone {name!r}: a hub repository is {HUB}ORGANISATION/NAME")
        return Backbone("hub", repository)
    if name.startswith(("/", "./", "../", "~")):
        return Backbone("folder", str(Path(name).expanduser()))
    if NAMED.match(name):
        model, _, tag = name.partition("/")
        return Backbone("named", model, tag=tag)
    raise ValueError(
        f"backbone {name!r}: give MODEL/TAG as open_clip names them (ViT-L-14/openai), {HUB}ORGANISATION/NAME, a folder"
        " that begins with / or ./, or {model: ViT-B-32, weights: PATH}"
    )


def tokenizer_repository(model: str) -> str | None:
    """The hub repository of the tokenizer of an open_clip SigLIP architecture; None for architectures of other names."""
    if "SigLIP" not in model:
        return None
    if "SigLIP2" in model:
        return f"timm/{model}"
    return "timm/ViT-B-16-SigLIP-i18n-256" if "i18n" in model else "timm/ViT-B-16-SigLIP"


def _configured_side(path: Path) -> int:
    try:
        size = json.loads(path.read_text(encoding="utf-8"))["model_cfg"]["vision_cfg"]["image_size"]
        return int(max(size) if isinstance(size, list) else size)
    except (OSError, ValueError, KeyError, TypeError):
        return IMAGE_SIDE  # what is wrong with the file is said when it is loaded


def _published(model: str, tag: str | None) -> Mapping[str, Any]:
    """Licence, source and size of published weights, where they are known."""
    name = model.rpartition("/")[2].removesuffix("-quickgelu")
    if tag == "openai":
        if name not in OPENAI:
            return {"licence": "MIT", "source": "https://github.com/openai/CLIP"}
        page, num_parameters = OPENAI[name]
        source = f"{HUB_PAGE}/timm/vit_{page}.openai"
        return {"licence": "MIT", "source": source, "num_bytes": FP32_BYTES * num_parameters}
    if "SigLIP" in name:
        return {"licence": "Apache-2.0", "source": f"{HUB_PAGE}/timm/{name}"}
    if (tag or "").startswith("laion"):
        return {"licence": "MIT", "source": "https://github.com/mlfoundations/open_clip"}
    return {"source": f"{HUB_PAGE}/{model}"} if "/" in model else {}
