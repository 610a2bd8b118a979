"""A hash on a thread of its own, for the one that is slower than writing (md5); hashlib lets go of the GIL."""

import hashlib
import threading
from queue import SimpleQueue

AHEAD = 64 << 20
"""Bytes that may wait: the writer blocks beyond them, so a slow hash never holds a whole shard in memory."""


class BackgroundHash:
    """Takes buffers in order; each must stay as it is until `hexdigest`."""

    def __init__(self, algorithm: str) -> None:
        self._hash = hashlib.new(algorithm, usedforsecurity=False)
        self._queue: SimpleQueue[bytes | bytearray | memoryview | None] = SimpleQueue()
        self._waiting = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"{algorithm} of a tar", daemon=True)
        self._thread.start()

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Add bytes; waits while too many are ahead of the hash."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting < AHEAD)
            self._waiting += len(data)
        self._queue.put(data)

    def hexdigest(self) -> str:
        """The digest of everything so far, once all of it is hashed. Ends the thread."""
        self.stop()
        return self._hash.hexdigest()

    def stop(self) -> None:
        """End the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (data := self._queue.get()) is not None:
            self._hash.update(data)
            with self._changed:
                self._waiting -= len(data)
                self._changed.notify()
