"""A config of each built-in stage that needs one, on tiny files made for it; the others are checked with their defaults."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.tiny_clip import WIDTH, aesthetic_head, clip_folder

ASKING: Mapping[str, Mapping[str, Any]] = {
    "caption": {"prompt": "structured_json"},
    "llm": {"choices": ["indoor", "outdoor"]},
    "ask": {"name": "has_people", "question": "Are there people?"},
    "tags": {"keys": ["objects", "actions", "scene", "style", "weather"]},
}
"""Stages that ask an engine: what stands in their config beside engine and model."""


def tiny_config(name: str, folder: Path) -> dict[str, Any]:
    """The config of stage `name` without its type; files go to `folder`."""
    if name in ASKING:  # answered by support.fake_engine
        return {"model": str(folder / "vlm"), **ASKING[name]}
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
