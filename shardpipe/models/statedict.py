"""A checkpoint file as tensors by name: safetensors first, torch files without code, never a pickle that runs something."""

import json
import re
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from shardpipe.core.errors import WeightsError
from shardpipe.models.imports import import_model_library

if TYPE_CHECKING:
    import torch

SAFE = ".safetensors"
PICKLED = (".pt", ".pth", ".ckpt", ".bin")
TORCH_STARTS = (b"PK\x03\x04", b"\x80\x02")
"""How torch's files begin: a zip, and before torch 1.6 a pickle."""

INDEX = ".index.json"
GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
"""What torch says of a pickle that names a function or a class: it would run code."""

CONVERT = "load it once where you trust it, and save its tensors with safetensors.torch.save_file"


def load_state(path: Path) -> "dict[str, torch.Tensor]":
    """What a checkpoint holds, on the CPU: tensors by name, as they were saved (a nest under `model` or `state_dict` stays).

    A folder's safetensors file counts before its .bin; one that is split into several files (`*.index.json`) is joined.
    WeightsError for a pickle that holds code, a TorchScript archive, a damaged file or another kind of file.
    """
    if path.is_dir():
        return _load_folder(path)
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file")
    suffix = path.suffix.lower()
    if suffix not in (SAFE, *PICKLED):  # a link to a download need not end as the file is called
        suffix = _suffix_by_content(path)
    if suffix == SAFE:
        return _load_safe(path)
    if suffix in PICKLED:
        return _load_pickled(path)
    raise WeightsError(f"{path} is no checkpoint: give a {SAFE} file, or one of {', '.join(PICKLED)}")


def _suffix_by_content(path: Path) -> str:
    """What a file would end in by how it begins; nothing for a file of another kind."""
    with path.open("rb") as file:
        start = file.read(9)
    if start.startswith(TORCH_STARTS):
        return PICKLED[0]
    holds_header = start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size
    return SAFE if holds_header else ""


def _load_safe(path: Path) -> "dict[str, torch.Tensor]":
    library = import_model_library("safetensors.torch")
    try:
        loaded: dict[str, torch.Tensor] = library.load_file(path, device="cpu")
    except Exception as error:  # a SafetensorError, or what the disk says
        raise WeightsError(f"{path} cannot be read as safetensors: {error}") from error
    return loaded


def _load_pickled(path: Path) -> "dict[str, torch.Tensor]":
    if _is_torchscript(path):
        raise WeightsError(
            f"{path} is a TorchScript archive, a program with its weights (as OpenAI's original CLIP files are), not a state "
            f"dict: take the same weights as {SAFE} (of CLIP: open_clip:ViT-L-14/openai), or {CONVERT}"
        )
    torch = import_model_library("torch")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch thinks of a pickle's protocol: it is read, or refused below
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, its own and pickle's
        if named := GLOBAL.search(str(error)):
            raise WeightsError(
                f"{path} holds more than tensors ({named[1]}), and code in a pickle is never run: {CONVERT}"
            ) from error
        raise WeightsError(
            f"{path} cannot be read as tensors without running code: it is damaged, or no checkpoint of torch's; if it "
            f"is a pickle that you trust, {CONVERT}"
        ) from error
    if not isinstance(loaded, dict):
        raise WeightsError(f"{path} holds a {type(loaded).__name__}, not tensors by name")
    return loaded


def _is_torchscript(path: Path) -> bool:
    """Whether a file is a zip with code beside its tensors; a plain torch file has none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.split("/")[1:2] == ["code"] for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _load_folder(folder: Path) -> "dict[str, torch.Tensor]":
    """The one checkpoint of a folder; WeightsError where it holds none, or several that no index joins."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    for suffixes in ((SAFE,), PICKLED):
        indices = [path for path in files if path.name.endswith(tuple(f"{suffix}{INDEX}" for suffix in suffixes))]
        found = [path for path in files if path.suffix in suffixes]
        if len(indices) == 1:
            return _load_split(indices[0])
        if len(found) == 1:
            return load_state(found[0])
        if found:
            names = ", ".join(path.name for path in found)
            raise WeightsError(f"{folder} holds several checkpoints ({names}): give one of these files")
    raise WeightsError(f"{folder} holds no checkpoint: no file of {', '.join((SAFE, *PICKLED))}")


def _load_split(index: Path) -> "dict[str, torch.Tensor]":
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise WeightsError(f"{index} is no index of a checkpoint: {error!r}") from error
    joined: dict[str, torch.Tensor] = {}
    for name in names:
        if Path(name).name != name:
            raise WeightsError(f"{index} names {name!r}, which is not in its folder")
        joined |= load_state(index.with_name(name))
    return joined
