"""Weights: a file of a model's parameters as a stage names it, before anything is read."""

import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel

PIN = "#sha256="
HEX = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Weights:
    """A file (or folder) of weights that a stage loads in `setup`.

    role: what the stage loads it as (`head`, `backbone`), unique within the stage.
    url: a local path, `hf://org/repo/file`, `hf://org/repo` (all of it, a folder), `open_clip:ViT-L-14/openai`, or any fsspec URL;
    a sha256 may end it (`pinned`).
    sha256: of the file, where it is published; another content is refused.
    licence and source: of the published file, and the page where a person gets it; for messages and `shardpipe models`.
    num_bytes: size of the published file, at least nearly; None where it is not known.
    setting: how the stage's config names another copy, at PATH, where no field of it holds this url.
    """

    role: str
    url: str
    sha256: str | None = None
    licence: str = "unknown"
    source: str | None = None
    num_bytes: int | None = None
    setting: str | None = None


def pinned(url: str) -> tuple[str, str | None]:
    """A url of weights less the sha256 that may end it, and that: `https://host/head.pt#sha256=HEX`.

    Raises ValueError for a `#sha256=` without 64 hexadecimal digits.
    """
    place, mark, sha256 = url.partition(PIN)
    if not mark:
        return url, None
    if not HEX.match(sha256.lower()):
        raise ValueError(f"{url}: give 64 hexadecimal digits after {PIN}, as sha256sum prints them")
    return place, sha256.lower()


def is_copy_of(url: str, published: str) -> bool:
    """Whether a url names published weights, pinned or not."""
    return url.partition(PIN)[0] == published


@dataclass(frozen=True)
class _UrlMark:
    """What marks a field as one that says where weights are."""


_MARK = _UrlMark()

WeightsUrl = Annotated[str, _MARK]
"""The type of a stage's field that says where weights are: `weights: WeightsUrl = "hf://org/repo/file"`.

Such a field is no part of the stage's identity: the sha256 of what lies there is, wherever it lies.
"""


def is_weights_url(annotation: Any, metadata: typing.Iterable[Any] = ()) -> bool:  # noqa: ANN401  a type expression
    """Whether a field of this type (and pydantic's metadata of it) holds a WeightsUrl, alone or in a list or a union."""
    if any(isinstance(each, _UrlMark) for each in metadata):
        return True
    if typing.get_origin(annotation) is Annotated:
        return is_weights_url(annotation.__origin__, annotation.__metadata__)
    return any(is_weights_url(each) for each in typing.get_args(annotation))


def url_fields(model: BaseModel) -> dict[Any, Any]:
    """The fields of `model`, and of models inside it, that hold a WeightsUrl, as `model_dump(exclude=...)` takes them."""
    found: dict[Any, Any] = {}
    for name, field in type(model).model_fields.items():
        inside = True if is_weights_url(field.annotation, field.metadata) else _inside(getattr(model, name))
        if inside:
            found[name] = inside
    return found


def _inside(value: object) -> dict[Any, Any]:
    if isinstance(value, BaseModel):
        return url_fields(value)
    parts = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    found = {key: _inside(part) for key, part in parts}
    return {key: part for key, part in found.items() if part}
