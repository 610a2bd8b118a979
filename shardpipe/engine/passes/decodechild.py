"""The child's side of a decode process: reads a clip, checks it, and puts its frames into a shared slot."""

import hashlib
import mmap
import os
import resource
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardpipe.core.errors import MediaError
from shardpipe.core.frames import FrameRequest, Frames
from shardpipe.core.parent import die_with
from shardpipe.media.sample import Allocate, sample
from shardpipe.media.stills import Stills

ALIGN = 64
NEARLY = 0.95


@dataclass(frozen=True)
class Media:
    """Where a clip's mp4 lies: in a local file, or in `data` already read. Its bytes must have this sha256 (if known).

    stills: cached frames that serve some of the requests in its place; where they serve all, there is nothing else.
    """

    path: str | None
    offset: int
    size: int
    sha256: str | None
    data: bytes | None = field(default=None, repr=False)
    stills: Stills | None = field(default=None, repr=False)

    def read(self) -> bytes:
        """The bytes; raises MediaError if they are not those of its row."""
        data = self.data
        if data is None:
            assert self.path is not None
            with open(self.path, "rb") as file:  # noqa: PTH123  a plain read on the hot path
                file.seek(self.offset)
                data = file.read(self.size)
        if self.sha256 is not None and hashlib.sha256(data).hexdigest() != self.sha256:
            raise MediaError(
                f"the {self.size} bytes at {self.offset} are not those of its row (sha256): run `shardpipe verify`"
            )
        return data

    def frames(self, requests: Sequence[FrameRequest], allocate: Allocate) -> list[Frames]:
        """One Frames for each of `requests`, which are distinct. Raises MediaError."""
        stills = self.stills
        served = stills.picks if stills is not None else {}
        rest = [request for request in requests if request not in served]
        made = dict(zip(rest, sample(self.read(), rest, allocate=allocate), strict=True)) if rest else {}
        if stills is not None:
            made |= {request: stills.frames(request, allocate) for request in requests if request in served}
        return [made[request] for request in requests]


def view_of(view: mmap.mmap, at: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The uint8 array of this shape that lies at byte `at` of a slot."""
    count = int(np.prod(shape))
    return np.frombuffer(view, dtype=np.uint8, count=count, offset=at).reshape(shape)


class _Arena:
    """Hands out arrays from a slot, and from ordinary memory once the slot is full."""

    def __init__(self, view: mmap.mmap) -> None:
        self._view = view
        self.used = 0

    def allocate(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        at, size = self.used, int(np.prod(shape))
        if at + size > len(self._view):
            return np.empty(shape, np.uint8)
        self.used += -(-size // ALIGN) * ALIGN
        return view_of(self._view, at, shape)


def serve(conn: Connection, memory_bytes: int, worker: int) -> None:
    """The child: says that it is there, and answers until its worker (a process id) closes the pipe, or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(worker)
    _limit_memory(memory_bytes)
    conn.send(("ready",))
    slots: dict[int, mmap.mmap] = {}
    while True:
        try:
            message = conn.recv()
        except (EOFError, OSError):
            return
        if message[0] == "slot":
            _receive_slot(conn, slots, message[1], message[2])
        else:
            _decode_into(conn, slots, message)


def _receive_slot(conn: Connection, slots: dict[int, mmap.mmap], number: int, size: int) -> None:
    fd = recv_handle(conn)
    slots[number] = mmap.mmap(fd, size)
    os.close(fd)


def _decode_into(conn: Connection, slots: dict[int, mmap.mmap], message: tuple[Any, ...]) -> None:
    _, number, media, requests = message
    began = time.process_time()
    arena = _Arena(slots[number])
    try:
        frames = media.frames(requests, arena.allocate)
    except Exception as exc:  # noqa: BLE001  whatever a library raises on a damaged clip
        conn.send((*_fault(exc), time.process_time() - began))
        return
    slot = slots[number]
    places = [_place(slot, each.data) for each in frames]
    if None in places:
        needed = sum(-(-each.data.nbytes // ALIGN) * ALIGN for each in frames)
        del slots[number]
        conn.send(("need", needed))
        _, number, size = conn.recv()
        _receive_slot(conn, slots, number, size)
        slot = slots[number]
        places, at = [], 0
        for each in frames:
            view_of(slot, at, each.data.shape)[...] = each.data
            places.append(at)
            at += -(-each.data.nbytes // ALIGN) * ALIGN
    layout = [(at, each.data.shape, each.times_s) for at, each in zip(places, frames, strict=True)]
    conn.send(("frames", layout, time.process_time() - began))


def _fault(exc: Exception) -> tuple[str, str]:
    """What went wrong with a clip: `error`, `exhausted` (memory), or `unreadable` where it is the disk's fault; and in words."""
    if isinstance(exc, OSError) and not isinstance(exc, FileNotFoundError):
        return "unreadable", str(exc)
    text = str(exc) if isinstance(exc, MediaError | FileNotFoundError) else f"{type(exc).__name__}: {exc}"
    if isinstance(exc, MemoryError) or _is_near_limit():
        return "exhausted", f"the decoder ran out of the memory that a clip may take ({text})"
    return "error", text


def _place(view: mmap.mmap, array: NDArray[np.uint8]) -> int | None:
    """Where in the slot `array` lies; None if it lies elsewhere or is no plain array."""
    first = np.frombuffer(view, np.uint8).__array_interface__["data"][0]
    at = int(array.__array_interface__["data"][0]) - int(first)
    return at if array.flags.c_contiguous and at >= 0 and at + array.nbytes <= len(view) else None


def _limit_memory(memory_bytes: int) -> None:
    """Bound the child's address space to what it has now and `memory_bytes` more."""
    used = _address_space()
    if used is not None:  # not on Linux: the limit is not enforced
        resource.setrlimit(resource.RLIMIT_AS, (used + memory_bytes, used + memory_bytes))


def _is_near_limit() -> bool:
    """Whether the child's address space is nearly full: libraries report a failed allocation in many ways."""
    used, (limit, _) = _address_space(), resource.getrlimit(resource.RLIMIT_AS)
    return used is not None and limit != resource.RLIM_INFINITY and used > NEARLY * limit


def _address_space() -> int | None:
    """Bytes of this process's address space; None where the system does not say."""
    if not os.path.exists("/proc/self/statm"):  # noqa: PTH110
        return None
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[0]) * mmap.PAGESIZE
