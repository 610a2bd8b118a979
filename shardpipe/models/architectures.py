"""The architectures that open_clip has, and the weights that it publishes of each: told when a run is planned.

Names and widths are read out of its files, as importing it takes torch and seconds. What it says of weights is asked once a
release, and kept. Where it is not installed nothing is known, and nothing is refused.
"""

import contextlib
import importlib.util
import json
import sys
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from shardpipe.core.errors import ConfigError
from shardpipe.core.fingerprint import sha256_hex
from shardpipe.models.cache import cache_folder, read_json, write_json
from shardpipe.models.imports import import_model_library

LIBRARY = "open_clip"
CONFIGS = "model_configs"


def architectures() -> list[str] | None:
    """All that open_clip can build by name, in its order; None where it is not installed."""
    if sys.modules.get(LIBRARY) is not None:  # whoever imported it may have added some
        return list(sys.modules[LIBRARY].list_models())
    folder = _config_folder()
    return None if folder is None else sorted(path.stem for path in folder.glob("*.json"))


def width_of(model: str) -> int | None:
    """The width of an architecture's embeddings; None where open_clip is not installed, or has no such file."""
    folder = _config_folder()
    try:
        return None if folder is None else int(json.loads((folder / f"{model}.json").read_text())["embed_dim"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def unknown(model: str, tag: str | None) -> str | None:
    """What is wrong with the names, where open_clip has no such architecture, or publishes no such weights of it; else None."""
    known = architectures()
    if known is None:
        return None
    if model not in known:
        near = _near(model, known) or "; open_clip.list_models() names all"
        return f"open_clip has no model {model!r}{near}"
    with contextlib.suppress(ConfigError):  # it cannot be imported here, where nothing is loaded either
        if tag is not None and published(model, tag) is None:
            tags = list(import_model_library(LIBRARY).list_pretrained_tags_by_model(model))
            there = f"it has {', '.join(tags)}" if tags else "it has none"
            return f"open_clip has no weights {tag!r} of {model}{_near(tag, tags)}: {there}"
    return None


def published(model: str, tag: str) -> dict[str, Any] | None:
    """Where open_clip says that its weights lie, kept by release: a plan need not import it, and torch with it, each time.

    None for a name that it does not know; raises ConfigError where it is not known and cannot be imported.
    """
    try:
        release = version("open_clip_torch")
    except PackageNotFoundError:
        release = "none"
    memo = cache_folder() / "open_clip" / f"{sha256_hex(f'{release} {model} {tag}'.encode())[:32]}.json"
    known = read_json(memo)
    if known is None or release == "none":
        known = dict(import_model_library(LIBRARY).get_pretrained_cfg(model, tag))
        known = {key: value for key, value in known.items() if key in ("hf_hub", "url")}
        if known:
            with contextlib.suppress(OSError):  # a cache that is only read
                write_json(memo, known)
    return known or None


def _config_folder() -> Path | None:
    spec = importlib.util.find_spec(LIBRARY)
    return None if spec is None or spec.origin is None else Path(spec.origin).with_name(CONFIGS)


def _near(word: str, known: list[str]) -> str:
    close = get_close_matches(word, known, n=3)
    return f" (did you mean {' or '.join(close)}?)" if close else ""
