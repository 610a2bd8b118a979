"""Sizes as people write them: `512MiB`, `2GB`, `1000`."""

import re

from shardpipe.core.errors import ConfigError

SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kKMGT]i?)?B?\s*\Z")
POWERS = {"k": 1, "K": 1, "M": 2, "G": 3, "T": 4}


def parse_size(text: str) -> int:
    """Bytes of a size with or without a unit (`512MiB` is 512 * 2**20, `2GB` is 2e9); raises ConfigError."""
    match = SIZE.match(text)
    if match is None:
        raise ConfigError(
            f"{text!r} is no size: give a number of bytes, or a number and kB, MB, GB, TB, KiB, MiB, GiB or TiB"
        )
    unit = match[2] or ""
    factor = (1024 if unit.endswith("i") else 1000) ** POWERS[unit[0]] if unit else 1
    return round(float(match[1]) * factor)
