"""A decode process that goes wrong on some clips: `serve_badly` in place of the real child (see test_decoders.py).

What a clip does to it is in its own bytes: they end in `!segfault`, `!hang`, `!hoard`, `!leak` or `!raise`, or in nothing
of the kind.
"""

import ctypes
import mmap
import os
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from shardpipe.core.frames import FrameRequest, Frames
from shardpipe.engine.passes import decodechild

HOARD = 1 << 40
LEAKED: list[mmap.mmap] = []
real_sample = decodechild.sample


def sample_badly(data: bytes, requests: Sequence[FrameRequest], **options: Any) -> list[Frames]:
    _, _, what = data[-16:].rpartition(b"!")
    match what:
        case b"segfault":
            ctypes.string_at(0)
        case b"hang":
            time.sleep(1000)
        case b"hoard":
            bytearray(HOARD)
        case b"leak":
            LEAKED.append(mmap.mmap(-1, int(os.environ["LEAK_BYTES"])))
        case b"raise":
            raise RuntimeError("a library said no")
    return real_sample(data, requests, **options)


def serve_badly(conn: Connection, memory_bytes: int, worker: int) -> None:
    decodechild.sample = sample_badly
    decodechild.serve(conn, memory_bytes, worker)


def serve_late(conn: Connection, memory_bytes: int, worker: int) -> None:
    """A child on a busy machine."""
    time.sleep(6)
    decodechild.serve(conn, memory_bytes, worker)
