"""Image-text models of open_clip, built from files that are already here: open_clip itself downloads nothing."""

import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import torch

from shardpipe.core.errors import ConfigError
from shardpipe.models.backbone import CONFIG, ROLE, TOKENIZER_FILES, Backbone
from shardpipe.models.imports import import_model_library
from shardpipe.models.statedict import load_state

Files = Mapping[str, Path]
"""Where the files of a backbone lie, by role."""

Tokenizer = Callable[[list[str]], torch.Tensor]
POSITIONS = ("visual.positional_embedding", "positional_embedding", "text.positional_embedding")
RESIZERS = ("resize_pos_embed", "resize_text_pos_embed")
"""What open_clip's loader calls, in the module of its loader, to make positions fit."""

PREPROCESS_KEYS = ("mean", "std", "interpolation", "resize_mode")


@dataclass(frozen=True)
class Recipe:
    """How open_clip builds a backbone. name: for `create_model`. config: the architecture. preprocess: what differs from CLIP's."""

    name: str
    config: Mapping[str, Any]
    quick_gelu: bool
    preprocess: Mapping[str, Any]

    @property
    def embed_dim(self) -> int:
        """The width of its embeddings."""
        return int(self.config["embed_dim"])


def load_model(backbone: Backbone, files: Files) -> Any:  # noqa: ANN401  an open_clip module
    """The whole model with its weights, in fp32 on the CPU, ready for inference. Raises ConfigError for a file that does not fit."""
    open_clip = import_model_library("open_clip")
    with recipe(backbone, files) as found, _unchanged_surroundings():
        text = found.config["text_cfg"].get("hf_model_name")
        if text is not None and not Path(text).is_dir():
            raise ConfigError(
                f"backbone {backbone}: its text model {text} is one of transformers, which open_clip would download;"
                " give a backbone whose text model is open_clip's own"
            )
        model = open_clip.create_model(
            found.name,
            load_weights=False,
            pretrained_text=False,
            force_quick_gelu=found.quick_gelu,
            force_preprocess_cfg=dict(found.preprocess),
        )
        try:
            with _positions_as_they_are(open_clip, f"backbone {backbone}: {files['backbone']}", found):
                open_clip.load_checkpoint(model, str(files["backbone"]), weights_only=True)
        except _OtherPositionsError:
            raise
        except Exception as error:
            load_state(files["backbone"])  # says better what is wrong with a file that cannot be read at all
            raise ConfigError(
                f"backbone {backbone}: {files['backbone']} is no checkpoint of this model: {error!s:.400}"
            ) from error
    model.eval().requires_grad_(requires_grad=False)
    return model


class _OtherPositionsError(ConfigError):
    """A checkpoint of a model that sees pictures of another size, or texts of another length."""


@contextmanager
def _positions_as_they_are(open_clip: Any, where: str, found: Recipe) -> Iterator[None]:  # noqa: ANN401  a module
    """While a checkpoint is loaded: refuse one with another number of positions, which open_clip interpolates without a word."""

    def check(state: Mapping[str, Any], model: Any, *_: Any, **__: Any) -> None:  # noqa: ANN401  as open_clip calls it
        own = model.state_dict()
        for name in POSITIONS:
            if name in state and name in own and len(state[name]) != len(own[name]):
                shapes = f"its {name} is {list(state[name].shape)}, and that of this model is {list(own[name].shape)}"
                fits = _fitting(open_clip, found, len(state[name])) if name.startswith("visual.") else ""
                raise _OtherPositionsError(f"{where} is no checkpoint of this model: {shapes}{fits}")

    saved = {name: getattr(open_clip.factory, name) for name in RESIZERS if hasattr(open_clip.factory, name)}
    for name in saved:
        setattr(open_clip.factory, name, check)
    try:
        yield
    finally:
        for name, resize in saved.items():
            setattr(open_clip.factory, name, resize)


def _fitting(open_clip: Any, found: Recipe, num_positions: int) -> str:  # noqa: ANN401  a module
    """What has so many positions: the side of the pictures, and the architectures that are the same but for that."""
    vision = found.config["vision_cfg"]
    patch = vision.get("patch_size")
    grid = isqrt(num_positions)
    if not isinstance(patch, int) or num_positions - grid**2 > 1:  # a square, and mostly one for the class
        return ""
    side = grid * patch
    wanted = {**found.config, "vision_cfg": {**vision, "image_size": side}}
    same = [name for name in open_clip.list_models() if open_clip.get_model_config(name) == wanted]
    return f"; it is made for pictures of {side} pixels{', as ' + ' and '.join(same) + ' is' if same else ''}"


def embedding_width(backbone: Backbone, files: Files) -> int:
    """The width of a backbone's embeddings, from its config alone."""
    with recipe(backbone, files) as found:
        return found.embed_dim


def load_tokenizer(backbone: Backbone, files: Files) -> Any:  # noqa: ANN401  one of open_clip's tokenizers
    """The tokenizer that the text model was trained with, from files that are already here."""
    open_clip = import_model_library("open_clip")
    with recipe(backbone, files) as found:
        text = found.config["text_cfg"]
        length = text.get("context_length", 77)
        options = dict(text.get("tokenizer_kwargs", {}))
        named = text.get("hf_tokenizer_name")
        if not named:
            return open_clip.SimpleTokenizer(context_length=length, **options)
        if "tokenizer" not in files:
            raise ConfigError(
                f"backbone {backbone}: its tokenizer {named} is not at hand; put tokenizer.json and tokenizer_config.json"
                f" of it beside {CONFIG} and the checkpoint, and give that folder as the backbone"
            )
        with tempfile.TemporaryDirectory() as folder:
            for name in TOKENIZER_FILES:
                if ROLE[name] in files:
                    shutil.copy(files[ROLE[name]], Path(folder) / name)
            return open_clip.tokenizer.HFTokenizer(
                folder, context_length=length, tokenizer_mode=text.get("tokenizer_mode"), **options
            )


@contextmanager
def recipe(backbone: Backbone, files: Files) -> Iterator[Recipe]:
    """How open_clip builds it; raises ConfigError for a model or tag that it does not know."""
    open_clip = import_model_library("open_clip")
    if backbone.kind in ("hub", "folder"):
        whole = _read_config(backbone, files["config"])
        with (
            tempfile.TemporaryDirectory() as folder
        ):  # open_clip reads the config out of a folder, under this very name
            shutil.copy(files["config"], Path(folder) / CONFIG)
            yield Recipe(f"local-dir:{folder}", whole["model_cfg"], quick_gelu=False, preprocess={})
        return
    config = open_clip.get_model_config(backbone.model)
    if config is None:
        known = ", ".join(open_clip.list_models())
        raise ConfigError(f"backbone {backbone}: open_clip has no model {backbone.model}. It has: {known}")
    published = _published(open_clip, backbone)
    preprocess = {key: published[key] for key in PREPROCESS_KEYS if key in published}
    yield Recipe(backbone.model, config, bool(published.get("quick_gelu")), preprocess)


def _read_config(backbone: Backbone, path: Path) -> Mapping[str, Any]:
    try:
        whole: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        wanted = {"embed_dim", "vision_cfg", "text_cfg"} - set(whole["model_cfg"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"backbone {backbone}: {path} is no {CONFIG} of open_clip: {error!r}") from error
    if wanted:
        raise ConfigError(f"backbone {backbone}: the model_cfg of {path} lacks {', '.join(sorted(wanted))}")
    return whole


def _published(open_clip: Any, backbone: Backbone) -> Mapping[str, Any]:  # noqa: ANN401  a module
    """Activation and preprocessing of published weights; for one's own without `like`, what all published ones share."""
    tags = open_clip.list_pretrained_tags_by_model(backbone.model)
    if backbone.tag is not None:
        found: Mapping[str, Any] = open_clip.get_pretrained_cfg(backbone.model, backbone.tag)
        if not found:
            raise ConfigError(
                f"backbone {backbone}: open_clip has no weights {backbone.tag} of {backbone.model}."
                f" It has: {', '.join(tags) or 'none'}"
            )
        return found
    each = [open_clip.get_pretrained_cfg(backbone.model, tag) for tag in tags]
    shared = {key: each[0].get(key) for key in PREPROCESS_KEYS} if each else {}
    return {key: value for key, value in shared.items() if all(other.get(key) == value for other in each)}


@contextmanager
def _unchanged_surroundings() -> Iterator[None]:
    """Building a model draws random numbers, and says by the root logger that it has no weights yet: undo both."""
    root = logging.getLogger()
    silent = logging.NullHandler()  # without any handler, logging would put one on stderr for good
    root.addHandler(silent)
    root.addFilter(_from_a_named_logger)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        root.removeFilter(_from_a_named_logger)
        root.removeHandler(silent)


def _from_a_named_logger(record: logging.LogRecord) -> bool:
    return record.name != "root"
