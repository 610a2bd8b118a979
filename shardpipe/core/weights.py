"""Weights: a file of a model's parameters as a stage names it, before anything is read."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Weights:
    """A file (or folder) of weights that a stage loads in `setup`.

    role: what the stage loads it as (`head`, `backbone`), unique within the stage.
    url: a local path, `hf://org/repo/file`, `open_clip:ViT-L-14/openai`, or any fsspec URL.
    sha256: of the file, where it is published; another content is refused.
    licence and source: of the published file, and the page where a person gets it; for messages and `shardpipe models`.
    num_bytes: size of the published file, None where it is not known.
    """

    role: str
    url: str
    sha256: str | None = None
    licence: str = "unknown"
    source: str | None = None
    num_bytes: int | None = None
