"""What units took, as the driver leaves it under `_run/`: outside fingerprints, hashes and `verify`, lost without harm.

_run/score/rows/3f0c9a1be27d-0000.json    {"000012": {"num_clips": 96, "started_s": ..., "ended_s": ..., "usage": {"cpu_s": 41.2, ...}}, ...}

One object holds many units, so that `status` reads few. Its name is of one driver's one phase: nobody else writes it.
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field

from pydantic import TypeAdapter, ValidationError

from shardpipe.core.errors import ShardpipeError
from shardpipe.core.fingerprint import canonical_json
from shardpipe.core.work import Outcome, Phase, Usage
from shardpipe.storage.parallel import for_each, num_readers
from shardpipe.storage.store import RUN, Store

log = logging.getLogger(__name__)

WINDOW_S = 1800.0
UNITS_AN_OBJECT = 1000
WRITE_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Timing:
    """What one unit took. `started_s` and `ended_s` are seconds since 1970 on the driver's clock."""

    num_clips: int
    started_s: float
    ended_s: float
    usage: Usage = field(default_factory=Usage)


_TIMINGS = TypeAdapter(dict[str, Timing])


class TimingLog:
    """What the units of one phase take in this run. It is written now and then, and by `flush`."""

    def __init__(self, store: Store, name: str, phase: Phase, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._stem = f"{timings_folder(name, phase)}/{uuid.uuid4().hex[:12]}"
        self._clock = clock
        self._number = 0
        self._units: dict[str, Timing] = {}
        self._is_written = True
        self._written_s = clock()

    def add(self, outcome: Outcome, *, started_s: float, ended_s: float) -> None:
        """Note what a unit took."""
        self._units[outcome.unit] = Timing(outcome.num_seen, started_s, ended_s, outcome.usage)
        self._is_written = False
        is_full = len(self._units) >= UNITS_AN_OBJECT
        if is_full or self._clock() - self._written_s >= WRITE_EVERY_S:
            self.flush()
        if is_full:
            self._number += 1
            self._units = {}

    def flush(self) -> None:
        """Write what is not written yet. The units are committed by now: timings that cannot be written must not end the run."""
        if self._is_written:
            return
        path = f"{self._stem}-{self._number:04d}.json"
        try:
            self._store.replace(path, canonical_json({unit: asdict(each) for unit, each in self._units.items()}))
        except (ShardpipeError, OSError) as error:
            log.warning("%s/%s is not written, so what its units took is not known: %s", self._store.url, path, error)
        self._is_written, self._written_s = True, self._clock()


def timings_folder(name: str, phase: Phase) -> str:
    """Where the timings of one phase of pass `name` lie."""
    return f"{RUN}/{name}/{phase}"


def read_timings(store: Store, name: str, phase: Phase, paths: Iterable[str] | None = None) -> list[Timing]:
    """What the units of one phase of pass `name` took, each at its last try, as far as it is known; by a fresh listing, or out of
    `paths`. Files that are no timings are passed over.
    """
    last: dict[str, Timing] = {}
    found: list[dict[str, Timing]] = []

    def read(path: str) -> None:
        try:
            found.append(_TIMINGS.validate_json(store.read(path)))
        except (FileNotFoundError, ValidationError):
            return  # replaced this moment by its driver, or another file of the run

    listed = store.list(timings_folder(name, phase)) if paths is None else paths
    for_each(listed, read, at_once=num_readers(store))
    for timings in found:
        for unit, timing in timings.items():
            if unit not in last or last[unit].ended_s <= timing.ended_s:
                last[unit] = timing
    return list(last.values())


def total(timings: Sequence[Timing]) -> Usage:
    """All of them added up."""
    return sum((timing.usage for timing in timings), Usage())


def clips_per_s(timings: Sequence[Timing]) -> float | None:
    """The rate over the last half hour of work, all workers together; None while nothing is known."""
    if not timings:
        return None
    end = max(timing.ended_s for timing in timings)
    recent = [timing for timing in timings if timing.ended_s >= end - WINDOW_S]
    span_s = end - min(timing.started_s for timing in recent)
    return sum(timing.num_clips for timing in recent) / span_s if span_s > 0 else None
