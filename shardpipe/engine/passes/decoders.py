"""A decode process: a spawned child that turns one clip's bytes into frames in shared memory.

A decoder that crashes, hangs or runs out of memory costs its clip: the child is killed and replaced, the worker with
its loaded models lives on. A clip is given up only after it killed more than one child, since children are also killed
from outside. Frames cross in anonymous shared memory (a memfd a slot, sent once over the pipe), so they
are never copied and nothing is left behind when either side is killed.

    worker                                   child
                ◀── ("ready",) ────────────  once it has started, which may take long on a busy machine
    decode(job) ── ("decode", slot, job) ──▶ read bytes, check sha256, media.sample into the slot
                ◀── ("need", bytes) ───────  only where the slot is too small
                ─── ("slot", bigger) ──────▶
                ◀── ("frames", layout) ────
"""

import errno
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

import numpy as np
from numpy.typing import NDArray

from shardpipe.core.errors import MACHINE, MediaError, StoreError
from shardpipe.core.frames import FrameRequest, Frames
from shardpipe.engine.passes.decodechild import Media, serve, view_of

PAGE = mmap.PAGESIZE
FIRST_SLOT = 8 << 20
CRASH_TRIES = 3
"""How many decode processes may die of a clip."""

NO_ROOM = MACHINE | {errno.EAGAIN}
"""What this process is refused when it may have no more files, memory or children: no fault of a clip."""

HANG_TRIES = 2
"""How many may hang: more than one, since a process or a whole machine may be paused."""

START_S = 120.0
"""How long a child may take to start, imports and all; that is no clip's time."""


@dataclass(frozen=True)
class Decoded:
    """One clip's frames for each request, or the reason why there are none. Call `release` when done with the frames.

    raised: what went wrong where it is no fault of the clip; it is not an error of its row.
    """

    frame_sets: tuple[Frames, ...] = field(repr=False)
    error: str | None
    cpu_s: float
    num_bytes: int
    release: Callable[[], None] = field(repr=False)
    raised: BaseException | None = None


class Decoder(Protocol):
    """Whoever decodes one clip at a time."""

    def decode(self, media: Media, requests: Sequence[FrameRequest]) -> Decoded:
        """Frames or an error. Media that are not there, or not those of their row, may raise instead."""

    def close(self) -> None:
        """Let go of everything."""


def _empty(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.empty(shape, np.uint8)


def _nothing() -> None:
    """Frames in ordinary memory need no release."""


class InProcessDecoder:
    """Decodes in the worker's own process: no isolation, for debugging and tests (`decoders: 0`)."""

    def decode(self, media: Media, requests: Sequence[FrameRequest]) -> Decoded:
        """As the protocol says."""
        began = time.thread_time()
        try:
            frames, error = tuple(media.frames(requests, _empty)), None
        except MediaError as exc:
            frames, error = (), str(exc)
        except OSError:  # the clip's bytes cannot be read
            raise
        except Exception as exc:  # noqa: BLE001  of libraries, on a damaged clip
            frames, error = (), f"{type(exc).__name__}: {exc}"
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
        try:
            os.ftruncate(fd, size)
            return _Slot(number, fd, mmap.mmap(fd, size))
        except BaseException:
            os.close(fd)
            raise

    def close(self) -> None:
        """Let go of the file; the memory goes with the last view of it."""
        os.close(self.fd)


class DecodeProcess:
    """A Decoder in a spawned child, replaced when it dies, is silent for `timeout_s`, or exceeds `memory_bytes`."""

    def __init__(self, *, timeout_s: float, memory_bytes: int) -> None:
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._free: list[_Slot] = []
        self._num_slots = 0
        self._child: multiprocessing.process.BaseProcess | None = None
        self._conn: Connection | None = None
        self._is_ready = False
        self._closed = False

    def decode(self, media: Media, requests: Sequence[FrameRequest]) -> Decoded:
        """As the protocol says; crashes and time-outs, where they repeat, are an error of this clip."""
        num_crashed = num_hung = 0
        error = "the decoder was stopped"
        while not self._closed and num_crashed < CRASH_TRIES and num_hung < HANG_TRIES:
            try:
                decoded, is_exhausted = self._ask(media, requests)
            except TimeoutError:
                limit_s, what = (self._timeout_s, "") if self._is_ready else (START_S, "to start ")
                error = f"decoding took more than {limit_s:g} s {what}".rstrip()
                num_hung += 1
            except (EOFError, OSError) as exc:
                if isinstance(exc, OSError) and exc.errno in NO_ROOM:
                    self._kill()  # it may wait for what it cannot get
                    raised = StoreError(f"no decode process can be started or given memory on this machine: {exc}")
                    return Decoded((), None, 0.0, 0, _nothing, raised)
                error = self._cause_of_death()
                num_crashed += 1
            else:
                if not is_exhausted:
                    return decoded
                error = decoded.error or ""  # it may be memory that earlier clips leaked: again, in a new child
                num_crashed += CRASH_TRIES - 1
            self._kill()
        if not self._closed and not self._is_ready:  # no process ever looked at the clip
            raised = StoreError(f"no decode process starts on this machine ({error}): see what it said above")
            return Decoded((), None, 0.0, 0, _nothing, raised)
        return Decoded((), error, 0.0, 0, _nothing)

    def close(self) -> None:
        """End the child."""
        self._closed = True
        self._kill()
        while self._free:
            self._free.pop().close()

    def start(self) -> None:
        """Spawn the child before it is needed: its imports run beside the worker's own set-up."""
        ours, theirs = multiprocessing.get_context("spawn").Pipe(duplex=True)
        child = multiprocessing.get_context("spawn").Process(
            target=serve, args=(theirs, self._memory_bytes, os.getpid()), name="shardpipe-decoder", daemon=True
        )
        child.start()
        theirs.close()
        self._child, self._conn, self._is_ready = child, ours, False

    def _ask(self, media: Media, requests: Sequence[FrameRequest]) -> tuple[Decoded, bool]:
        """What the child makes of a clip, and whether the child has used up its memory."""
        if self._child is None:
            self.start()
        if not self._is_ready:
            self._reply(within_s=START_S)
            self._is_ready = True
        _, conn = self._live()
        slot = self._free.pop() if self._free else self._new_slot(FIRST_SLOT)
        try:
            self._send_slot(slot)
            conn.send(("decode", slot.number, media, tuple(requests)))
            reply = self._reply()
            if reply[0] == "need":
                small, slot = slot, self._new_slot(reply[1])
                small.close()
                self._send_slot(slot)
                reply = self._reply()
        except BaseException:
            slot.close()
            raise
        kind, payload, cpu_s = reply
        if kind != "frames":
            self._give_back(slot)
            if kind == "unreadable":
                return Decoded((), None, cpu_s, 0, _nothing, StoreError(payload)), False
            return Decoded((), payload, cpu_s, 0, _nothing), kind == "exhausted"
        frames = tuple(Frames(view_of(slot.view, at, shape), times) for at, shape, times in payload)
        num_bytes = sum(each.data.nbytes for each in frames)
        return Decoded(frames, None, cpu_s, num_bytes, lambda: self._give_back(slot)), False

    def _give_back(self, slot: _Slot) -> None:
        if self._closed:
            slot.close()
        else:
            self._free.append(slot)

    def _reply(self, *, within_s: float | None = None) -> tuple[Any, ...]:
        _, conn = self._live()
        if not conn.poll(self._timeout_s if within_s is None else within_s):
            raise TimeoutError
        reply: tuple[Any, ...] = conn.recv()
        return reply

    def _live(self) -> tuple[multiprocessing.process.BaseProcess, Connection]:
        """The child and its pipe; EOFError once another thread has closed this decoder."""
        child, conn = self._child, self._conn
        if child is None or conn is None:
            raise EOFError
        return child, conn

    def _new_slot(self, size: int) -> _Slot:
        self._num_slots += 1
        return _Slot.make(self._num_slots, size)

    def _send_slot(self, slot: _Slot) -> None:
        child, conn = self._live()
        pid = child.pid
        assert pid is not None
        if slot.sent_to != pid:
            conn.send(("slot", slot.number, len(slot.view)))
            send_handle(conn, slot.fd, pid)
            slot.sent_to = pid

    def _cause_of_death(self) -> str:
        child = self._child
        if self._closed or child is None:
            return "the decoder was stopped"
        child.join(timeout=5)
        code = child.exitcode
        if code is not None and code < 0:
            return f"the decoder crashed on this clip ({signal.Signals(-code).name})"
        return f"the decoder ended on this clip (exit {code})"

    def _kill(self) -> None:
        child, conn = self._child, self._conn
        self._child = self._conn = None
        if child is not None:
            child.kill()
            child.join()
        if conn is not None:
            conn.close()
