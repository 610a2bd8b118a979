"""A config of each built-in stage that needs one, on tiny files made for it; the others are checked with their defaults."""

from pathlib import Path
from typing import Any

from support.tiny_clip import WIDTH, aesthetic_head, clip_folder


def tiny_config(name: str, folder: Path) -> dict[str, Any]:
    """The config of stage `name` without its type; files go to `folder`."""
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
