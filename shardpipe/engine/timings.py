"""What units took, as workers leave it under `_run/`: outside fingerprints, hashes and `verify`, lost without harm.

_run/score/rows/000012.json    {"num_clips": 96, "started_s": ..., "ended_s": ..., "usage": {"cpu_s": 41.2, "wall_s": 22.0, ...}}
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from pydantic import TypeAdapter, ValidationError

from shardpipe.core.fingerprint import canonical_json
from shardpipe.core.work import Outcome, Phase, Usage
from shardpipe.storage.store import RUN, Store

WINDOW_S = 1800.0


@dataclass(frozen=True)
class Timing:
    """What one unit took. `started_s` and `ended_s` are seconds since 1970 on the worker's clock."""

    num_clips: int
    started_s: float
    ended_s: float
    usage: Usage = field(default_factory=Usage)


_TIMING = TypeAdapter(Timing)


def record_timing(store: Store, name: str, phase: Phase, *, outcome: Outcome, started_s: float, ended_s: float) -> None:
    """Leave what a unit of pass `name` took, in place of what it took at an earlier try."""
    timing = Timing(outcome.num_seen, started_s, ended_s, outcome.usage)
    store.replace(f"{RUN}/{name}/{phase}/{outcome.unit}.json", canonical_json(asdict(timing)))


def read_timings(store: Store, name: str, phase: Phase) -> list[Timing]:
    """What the units of one phase of pass `name` took, as far as it is known; files that are no timings are passed over."""
    found = []
    for path in store.list(f"{RUN}/{name}/{phase}"):
        try:
            found.append(_TIMING.validate_json(store.read(path)))
        except (FileNotFoundError, ValidationError):
            continue  # replaced this moment by its worker, or another file of the run
    return found


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


def all_usage(store: Store, name: str, timings: Sequence[Timing]) -> Usage | None:
    """What a Dataset took, of whose rows these are the timings: its shards too; None if no worker left a note."""
    every = [*timings, *read_timings(store, name, "emit")]
    return total(every) if every else None
