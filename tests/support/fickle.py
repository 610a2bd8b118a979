"""An encoder that gives other bytes at every attempt, so that a mix of two attempts shows."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from shardpipe.core.fingerprint import sha256_hex
from shardpipe.engine.cutting import cut as cutting


def fickle_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each clip is cut with a box of random bytes at its end."""
    real = cutting.cut_part

    def fickle(*args: Any) -> Iterator[Any]:
        for row, file in real(*args):
            if file is not None:
                data = file.read_bytes() + b"\0\0\0\x10free" + os.urandom(8)
                file.write_bytes(data)
                row |= {"sha256": sha256_hex(data), "num_bytes": len(data)}
            yield row, file

    monkeypatch.setattr(cutting, "cut_part", fickle)
