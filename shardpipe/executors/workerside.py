"""The worker's side of a worker process: set up once, then units that come over a pipe, and what is told back.

("job", UnitJob) ("end",)                                   ─▶ worker
("started",) ("begin", ...) ("end", n) ("done", Outcome)    ◀─ worker; ("fatal", why) where it cannot be set up
("sent", ...) ("answered", ...) ("more",)                   ◀─ worker of AsyncStages
"""

import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any, TextIO, cast

from shardpipe.core.errors import ShardpipeError, told
from shardpipe.core.parent import die_with
from shardpipe.core.secrets import Redacting
from shardpipe.core.work import UnitJob
from shardpipe.engine.worker import Task, Worker
from shardpipe.storage.scratch import ScratchSettings
from shardpipe.storage.store import open_store


class _PipeWatch:
    """A Watch that tells the executor."""

    def __init__(self, send: Callable[[tuple[Any, ...]], None]) -> None:
        self._send = send

    def begin(self, unit: str, what: str, keys: Sequence[str], timeout_s: float) -> None:
        self._send(("begin", unit, what, list(keys), timeout_s))

    def end(self, num_clips: int) -> None:
        self._send(("end", num_clips))

    def sent(self, unit: str, what: str, key: str) -> None:
        self._send(("sent", unit, what, key))

    def answered(self, unit: str, key: str) -> None:
        self._send(("answered", unit, key))

    def note(self, text: str) -> None:
        self._send(("note", text))


class _Voice:
    """What the worker says, until it is stopped: its SIGTERM raises KeyboardInterrupt, once, in whatever the worker is at, which
    aborts its uploads and clears its scratch on the way out. What it was at then stays so for the executor.
    """

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._lock = threading.Lock()
        self.is_stopped = False

    def send(self, message: tuple[Any, ...]) -> None:
        """Say something."""
        with self._lock:
            if not self.is_stopped:
                self._conn.send(message)

    def stop(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002  a signal handler's arguments
        """The handler."""
        if not self.is_stopped:
            self.is_stopped = True
            raise KeyboardInterrupt


class _PipeJobs:
    """Jobs that come over the pipe; a thread reads it, so that the executor's death ends the worker at once."""

    def __init__(self, conn: Connection, send: Callable[[tuple[Any, ...]], None]) -> None:
        self._queue: queue.SimpleQueue[UnitJob | None] = queue.SimpleQueue()
        self._send = send
        self._ended = self._asked = False
        threading.Thread(target=self._read, args=(conn,), daemon=True).start()

    def get(self, *, wait: bool, beyond: bool = False) -> UnitJob | None:
        if self._ended:
            return None
        try:
            job = self._queue.get(block=wait)
        except queue.Empty:
            if beyond and not self._asked:
                self._asked = True
                self._send(("more",))
            return None
        self._ended, self._asked = job is None, False
        return job

    def _read(self, conn: Connection) -> None:
        while True:
            try:
                message = conn.recv()
            except (EOFError, OSError):
                os._exit(1)  # the executor is gone: nobody would hear of more work
            self._queue.put(message[1] if message[0] == "job" else None)


def worker_main(  # noqa: PLR0917  multiprocessing passes them by position
    conn: Connection, root: str, scratch: ScratchSettings, task: Task, device: str, parent: int
) -> None:
    """A worker process: set up once, then units until told to end, or stopped."""
    for each in (signal.SIGINT, signal.SIGHUP):  # a terminal sends them to all: the executor decides what they mean
        signal.signal(each, signal.SIG_IGN)
    die_with(parent)
    sys.stderr = cast("TextIO", Redacting(sys.stderr))  # the log of whatever library
    voice = _Voice(conn)
    signal.signal(signal.SIGTERM, voice.stop)
    try:
        _work(lambda: task.make(open_store(root, scratch=scratch), device, _PipeWatch(voice.send)), conn, voice)
    except BaseException:
        if not voice.is_stopped:
            raise
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)
    logging.shutdown()
    os._exit(0)  # all is committed and told: no need to wait for libraries to take themselves down


def _work(make: Callable[[], Worker], conn: Connection, voice: _Voice) -> None:
    jobs = _PipeJobs(conn, voice.send)
    try:
        worker = make()
    except ShardpipeError as error:  # it says what to do: a trace would hide it
        voice.send(("fatal", str(error)))
        logging.shutdown()
        os._exit(1)
    except Exception as exc:
        voice.send(("fatal", told(f"{type(exc).__name__}: {exc}")))
        raise
    voice.send(("started",))
    try:
        for outcome in worker.run(jobs):
            voice.send(("done", outcome))
    finally:
        worker.close()
