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
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, TextIO, cast

from shardpipe.core.errors import ShardpipeError, told
from shardpipe.core.parent import die_with
from shardpipe.core.secrets import Redacting
from shardpipe.core.work import UnitJob
from shardpipe.engine.worker import Task, Worker
from shardpipe.storage.inflight import IN_FLIGHT
from shardpipe.storage.scratch import ScratchSettings
from shardpipe.storage.store import open_store

ABORT_S = 8.0
"""How long a worker may take to end before its last unit."""

SHELL_SIGNALS = 128
STOPPED_S = 1.0


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
    """What the worker says, until it is stopped: then whoever has something to say stays with it, until the process ends.

    A thread hears SIGTERM, whatever the worker is at (an exception could come up in a callback of C code, which drops it): it
    aborts the uploads and ends the process. What the worker was at then stays so for the executor, which clears its scratch.
    """

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._lock = threading.Lock()
        self._is_stopped = False

    def send(self, message: tuple[Any, ...]) -> None:
        """Say something."""
        with self._lock:
            while self._is_stopped:
                time.sleep(STOPPED_S)
            self._conn.send(message)

    def stop_at_sigterm(self) -> None:
        """From now on. Python's handler only writes to a pipe, at once, in C."""
        heard, tell = os.pipe()
        os.set_blocking(tell, False)
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
        threading.Thread(target=self._stop, args=(heard,), daemon=True).start()

    def _stop(self, heard: int) -> None:
        while os.read(heard, 1)[0] != signal.SIGTERM:
            pass  # another signal that a library handles
        self._is_stopped = True
        IN_FLIGHT.give_up(ABORT_S)
        os._exit(SHELL_SIGNALS + signal.SIGTERM)


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
    voice.stop_at_sigterm()
    _work(lambda: task.make(open_store(root, scratch=scratch), device, _PipeWatch(voice.send)), conn, voice)
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
