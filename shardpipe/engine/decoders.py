"""A decode process: a spawned child that turns one clip's bytes into frames in shared memory.

A decoder that crashes, hangs or runs out of memory costs its clip: the child is killed and replaced, the worker with
its loaded models lives on. Frames cross in anonymous shared memory (a memfd a slot, sent once over the pipe), so they
are never copied and nothing is left behind when either side is killed.

    worker                                   child
    decode(job) ── ("decode", slot, job) ──▶ read bytes, check sha256, media.sample into the slot
                ◀── ("need", bytes) ───────  only where the slot is too small
                ─── ("slot", bigger) ──────▶
                ◀── ("frames", layout) ────
"""

import hashlib
import mmap
import multiprocessing
import os
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shardpipe.core.errors import MediaError
from shardpipe.core.frames import FrameRequest, Frames
from shardpipe.media.sample import sample

PAGE = mmap.PAGESIZE
FIRST_SLOT = 8 << 20
ALIGN = 64


@dataclass(frozen=True)
class Media:
    """Where a clip's mp4 lies: in a local file, or in `data` already read. Its bytes must have this sha256 (if known)."""

    path: str | None
    offset: int
    size: int
    sha256: str | None
    data: bytes | None = field(default=None, repr=False)

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


@dataclass(frozen=True)
class Decoded:
    """One clip's frames for each request, or the reason why there are none. Call `release` when done with the frames."""

    frame_sets: tuple[Frames, ...] = field(repr=False)
    error: str | None
    cpu_s: float
    num_bytes: int
    release: Callable[[], None] = field(repr=False)


class Decoder(Protocol):
    """Whoever decodes one clip at a time."""

    def decode(self, media: Media, requests: Sequence[FrameRequest]) -> Decoded:
        """Frames or an error; never raises for bad media."""

    def close(self) -> None:
        """Let go of everything."""


def _nothing() -> None:
    """Frames in ordinary memory need no release."""


class InProcessDecoder:
    """Decodes in the worker's own process: no isolation, for debugging and tests (`decoders: 0`)."""

    def decode(self, media: Media, requests: Sequence[FrameRequest]) -> Decoded:
        """As the protocol says."""
        began = time.thread_time()
        try:
            frames, error = tuple(sample(media.read(), requests)), None
        except MediaError as exc:
            frames, error = (), str(exc)
        num_bytes = sum(each.data.nbytes for each in frames)
        return Decoded(frames, error, time.thread_time() - began, num_bytes, _nothing)

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class _Slot:
    number: int
    fd: int
    view: mmap.mmap
    sent_to: int | None = None  # the child (by pid) that has it

    @staticmethod
    def make(number: int, size: int) -> "_Slot":
        size = -(-size // PAGE) * PAGE
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create(f"shardpipe-{number}", os.MFD_CLOEXEC)
        else:
            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
        os.ftruncate(fd, size)
        return _Slot(number, fd, mmap.mmap(fd, size))


class DecodeProcess:
    """A Decoder in a spawned child, replaced when it dies, is silent for `timeout_s`, or exceeds `memory_bytes`."""

    def __init__(self, *, timeout_s: float, memory_bytes: int) -> None:
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._free: list[_Slot] = []
        self._num_slots = 0
        self._child: multiprocessing.process.BaseProcess | None = None
        self._conn: Connection | None = None
        self._closed = False

    def decode(self, media: Media, requests: Sequence[FrameRequest]) -> Decoded:
        """As the protocol says; a crash or a time-out is an error of this clip."""
        slot = self._free.pop() if self._free else self._new_slot(FIRST_SLOT)
        try:
            return self._ask(slot, media, requests)
        except TimeoutError:
            error = f"decoding took more than {self._timeout_s:g} s"
        except (EOFError, OSError):
            error = self._cause_of_death()
        self._kill()
        self._free.append(slot)
        return Decoded((), error, 0.0, 0, _nothing)

    def close(self) -> None:
        """End the child."""
        self._closed = True
        self._kill()

    def start(self) -> None:
        """Spawn the child before it is needed: its imports run beside the worker's own set-up."""
        ours, theirs = multiprocessing.get_context("spawn").Pipe(duplex=True)
        child = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(theirs, self._memory_bytes), name="shardpipe-decoder", daemon=True
        )
        child.start()
        theirs.close()
        self._child, self._conn = child, ours

    def _ask(self, slot: _Slot, media: Media, requests: Sequence[FrameRequest]) -> Decoded:
        if self._child is None:
            self.start()
        self._send_slot(slot)
        assert self._conn is not None
        self._conn.send(("decode", slot.number, media, tuple(requests)))
        reply = self._reply()
        if reply[0] == "need":
            slot = self._new_slot(reply[1])
            self._send_slot(slot)
            self._conn.send(("copy", slot.number))
            reply = self._reply()
        kind, payload, cpu_s = reply
        if kind == "error":
            self._free.append(slot)
            return Decoded((), payload, cpu_s, 0, _nothing)
        frames = tuple(Frames(_view(slot.view, at, shape), times) for at, shape, times in payload)
        num_bytes = sum(each.data.nbytes for each in frames)
        return Decoded(frames, None, cpu_s, num_bytes, lambda: self._free.append(slot))

    def _reply(self) -> tuple[Any, ...]:
        assert self._conn is not None
        if not self._conn.poll(self._timeout_s):
            raise TimeoutError
        reply: tuple[Any, ...] = self._conn.recv()
        return reply

    def _new_slot(self, size: int) -> _Slot:
        self._num_slots += 1
        return _Slot.make(self._num_slots, size)

    def _send_slot(self, slot: _Slot) -> None:
        assert self._child is not None
        assert self._conn is not None
        pid = self._child.pid
        assert pid is not None
        if slot.sent_to != pid:
            self._conn.send(("slot", slot.number, len(slot.view)))
            send_handle(self._conn, slot.fd, pid)
            slot.sent_to = pid

    def _cause_of_death(self) -> str:
        if self._closed or self._child is None:
            return "the decoder was stopped"
        self._child.join(timeout=5)
        code = self._child.exitcode
        if code is not None and code < 0:
            return f"the decoder crashed on this clip ({signal.Signals(-code).name})"
        return f"the decoder ended on this clip (exit {code})"

    def _kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.join()
        if self._conn is not None:
            self._conn.close()
        self._child = self._conn = None


def _view(view: mmap.mmap, at: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
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
        return _view(self._view, at, shape)


def _serve(conn: Connection, memory_bytes: int) -> None:
    """The child: answers until its worker closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory(memory_bytes)
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
        frames = sample(media.read(), requests, arena.allocate)
    except (MediaError, MemoryError) as exc:
        text = str(exc) or "the decoder ran out of the memory that a clip may take"
        conn.send(("error", text, time.process_time() - began))
        return
    slot = slots[number]
    places = [_place(slot, each.data) for each in frames]
    if None in places:
        needed = sum(-(-each.data.nbytes // ALIGN) * ALIGN for each in frames)
        conn.send(("need", needed))
        _receive_slot(conn, slots, *conn.recv()[1:])
        slot = slots[conn.recv()[1]]
        places, at = [], 0
        for each in frames:
            _view(slot, at, each.data.shape)[...] = each.data
            places.append(at)
            at += -(-each.data.nbytes // ALIGN) * ALIGN
    layout = [(at, each.data.shape, each.times_s) for at, each in zip(places, frames, strict=True)]
    conn.send(("frames", layout, time.process_time() - began))


def _place(view: mmap.mmap, array: NDArray[np.uint8]) -> int | None:
    """Where in the slot `array` lies; None if it lies elsewhere or is no plain array."""
    first = np.frombuffer(view, np.uint8).__array_interface__["data"][0]
    at = int(array.__array_interface__["data"][0]) - int(first)
    return at if array.flags.c_contiguous and at >= 0 and at + array.nbytes <= len(view) else None


def _limit_memory(memory_bytes: int) -> None:
    """Bound the child's address space to what it has now and `memory_bytes` more."""
    if not os.path.exists("/proc/self/statm"):  # noqa: PTH110  not on Linux: the limit is not enforced
        return
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        pages = int(file.read().split()[0])
    limit = pages * PAGE + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
