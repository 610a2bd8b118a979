"""A config of each built-in stage that needs one, on tiny files made for it; the others are checked with their defaults."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.tiny_clip import WIDTH, aesthetic_head, clip_folder
from support.tiny_vlm import make_tiny_llm, make_tiny_vlm

ASKING: Mapping[str, Mapping[str, Any]] = {
    "caption": {"prompt": {"video": 1, "short": 1}, "num_frames": 2},
    "llm": {"choices": ["indoor", "outdoor"]},
    "ask": {"name": "has_people", "question": "Are there people?", "num_frames": 1},
    "tags": {"keys": ["objects", "actions", "scene", "style", "weather"], "num_frames": 1},
}
"""Stages that ask a model: what stands in their config beside the engine and its model."""


def tiny_config(name: str, folder: Path) -> dict[str, Any]:
    """The config of stage `name` without its type; files go to `folder`."""
    if name in ASKING:
        model = make_tiny_llm(folder / "llm") if name == "llm" else make_tiny_vlm(folder / "vlm")
        return {"engine": "transformers", "model": str(model), "dtype": "float32", "max_tokens": 8, **ASKING[name]}
    if name == "merge":
        return {"columns": ["text_short", "text_long"]}
    if name not in ("aes", "match", "embed", "classify"):
        return {}
    common = {"backbone": clip_folder(folder / "clip"), "precision": "fp32"}
    if name == "aes":
        return {**common, "weights": str(aesthetic_head(folder / "head.pth", num_in=WIDTH))}
    if name == "classify":
        return {**common, "name": "watermark", "prompts": {"watermark": ["a watermark"], "clean": ["a photo"]}}
    return common
