"""A config field that takes a size as people write it."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from shardpipe.core.errors import ConfigError
from shardpipe.core.sizes import parse_size

__all__ = ["NumBytes", "parse_size"]


def _num_bytes(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_size(value)
    except ConfigError as error:
        raise ValueError("must be a number of bytes, or a number and kB, MB, GB, TB, KiB, MiB, GiB or TiB") from error


NumBytes = Annotated[int, BeforeValidator(_num_bytes), Field(ge=1)]
"""A config field that takes a size."""
