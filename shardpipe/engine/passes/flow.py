"""The threads of a worker: they feed decoders with clips in order, and hold back when enough frames are waiting.

    submit(ticket, media, requests) ─▶ queue ─▶ one thread a decoder ─▶ ticket.done.put((ticket, Decoded))

A permit is taken before a clip is decoded and given back when its frames are released, so that at most `max_held`
clips' frames exist at once. Clips start in the order of `submit`, so the unit that was submitted first always ends.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from shardpipe.core.errors import IntegrityError, MediaError
from shardpipe.core.frames import FrameRequest
from shardpipe.engine.passes.decodechild import Media
from shardpipe.engine.passes.decoders import Decoded, Decoder


@dataclass(frozen=True)
class Ticket:
    """A clip that is on its way: `subject` is the caller's own, `done` is where it comes out as (ticket, frames)."""

    subject: Any
    done: "queue.SimpleQueue[Any]" = field(repr=False)


class Fetch(Protocol):
    """Reads a clip's media, late: just before it is decoded."""

    def __call__(self) -> Media:
        """The media; raises IntegrityError or FileNotFoundError where it is not what its row says."""


class DecodeFlow:
    """Decoders at work, each in a thread of its own."""

    def __init__(self, decoders: Sequence[Decoder], max_held: int) -> None:
        self._decoders = decoders
        self._jobs: queue.SimpleQueue[tuple[Ticket, Fetch, Sequence[FrameRequest]] | None] = queue.SimpleQueue()
        self._permits = threading.Semaphore(max_held)
        self._closed = False
        self._threads = [threading.Thread(target=self._work, args=(each,), daemon=True) for each in decoders]
        for thread in self._threads:
            thread.start()

    def submit(self, ticket: Ticket, fetch: Fetch, requests: Sequence[FrameRequest]) -> None:
        """Queue a clip; it comes out of `ticket.done`, as frames or as an error."""
        self._jobs.put((ticket, fetch, requests))

    def close(self) -> None:
        """End threads and decoders; clips still queued are dropped."""
        self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
            self._permits.release()
        for decoder in self._decoders:
            decoder.close()
        for thread in self._threads:
            thread.join(timeout=10)

    def _work(self, decoder: Decoder) -> None:
        while (job := self._jobs.get()) is not None and not self._closed:
            ticket, fetch, requests = job
            self._permits.acquire()
            if self._closed:
                return
            decoded = _decode(decoder, fetch, requests)
            ticket.done.put((ticket, replace(decoded, release=self._releasing(decoded.release))))

    def _releasing(self, release: Callable[[], None]) -> Callable[[], None]:
        def done() -> None:
            release()
            self._permits.release()

        return done


def _decode(decoder: Decoder, fetch: Fetch, requests: Sequence[FrameRequest]) -> Decoded:
    """A clip's frames or its error. What is not the clip's fault is `raised`, for the unit to fail with: a store that
    does not answer must not become rows of errors, and no thread may end without a word.
    """
    try:
        return decoder.decode(fetch(), requests)
    except (IntegrityError, MediaError, FileNotFoundError) as exc:
        return Decoded((), str(exc), 0.0, 0, _nothing)
    except BaseException as exc:  # noqa: BLE001  raised again by the thread that waits for the frames
        return Decoded((), None, 0.0, 0, _nothing, exc)


def _nothing() -> None:
    """There are no frames to release."""
