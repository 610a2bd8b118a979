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

import mmap
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from typing import Any, Protocol

from shardpipe.core.errors import MediaError
from shardpipe.core.frames import FrameRequest, Frames
from shardpipe.engine.decodechild import Media, serve, view_of
from shardpipe.media.sample import sample

PAGE = mmap.PAGESIZE
FIRST_SLOT = 8 << 20


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
            target=serve, args=(theirs, self._memory_bytes), name="shardpipe-decoder", daemon=True
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
            os.close(slot.fd)  # too small from now on: its memory goes with the last view of it
            slot = self._new_slot(reply[1])
            self._send_slot(slot)
            self._conn.send(("copy", slot.number))
            reply = self._reply()
        kind, payload, cpu_s = reply
        if kind == "error":
            self._free.append(slot)
            return Decoded((), payload, cpu_s, 0, _nothing)
        frames = tuple(Frames(view_of(slot.view, at, shape), times) for at, shape, times in payload)
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
