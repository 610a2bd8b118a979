"""What passes between a run, its executor and its workers: units, their outcomes, progress. All plain values."""

from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

Phase = Literal["cut", "rows", "emit"]
PHASES: tuple[Phase, ...] = get_args(Phase)


@dataclass(frozen=True)
class WorkerNeeds:
    """What a worker of a phase needs of the machine.

    num_devices: GPUs at once, where it computes on GPUs. serves_all: one worker keeps all of a CPU, or of a server, busy.
    """

    uses_device: bool = False
    num_devices: int = 1
    serves_all: bool = False


@dataclass(frozen=True)
class UnitJob:
    """One unit to do. `cost` orders the queue, largest first (bytes of media, or clips).

    generation: of the rows to write (0 but for retries and stale rows).
    poisoned: key (or url) to reason: clips that killed a worker, to be committed as errors without being touched.
    suspects: keys that were in a batch when a worker died: run one by one.
    retry: do only the clips that failed in the generation before; the others' results are taken from it.
    """

    name: str
    cost: float = 1.0
    generation: int = 0
    poisoned: dict[str, str] = field(default_factory=dict)
    suspects: frozenset[str] = frozenset()
    retry: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """What a unit took: seconds (cpu_s over all processes, gpu_s while a stage held its device), bytes and requests of
    the store. Kept in `_run/` only, never in committed objects.

    num_decoded: clips whose mp4 was decoded for a pass's stages. num_from_stills: those that got cached frames, for all of
    the stages or for some. num_idle: how often no clip was with an AsyncStage any more before one was sent again, from the
    worker's first on; idle_s: the seconds of that.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    gpu_s: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0
    requests: int = 0
    num_decoded: int = 0
    num_from_stills: int = 0
    num_idle: int = 0
    idle_s: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.wall_s + other.wall_s,
            self.cpu_s + other.cpu_s,
            self.gpu_s + other.gpu_s,
            self.bytes_read + other.bytes_read,
            self.bytes_written + other.bytes_written,
            self.requests + other.requests,
            self.num_decoded + other.num_decoded,
            self.num_from_stills + other.num_from_stills,
            self.num_idle + other.num_idle,
            self.idle_s + other.idle_s,
        )

    def times(self, factor: float) -> "Usage":
        """What `factor` times as much work takes."""
        return Usage(
            self.wall_s * factor,
            self.cpu_s * factor,
            self.gpu_s * factor,
            round(self.bytes_read * factor),
            round(self.bytes_written * factor),
            round(self.requests * factor),
            round(self.num_decoded * factor),
            round(self.num_from_stills * factor),
            round(self.num_idle * factor),
            self.idle_s * factor,
        )


@dataclass(frozen=True)
class Outcome:
    """What became of a unit: counts of clips as its committed rows tell them, and what it took."""

    unit: str
    num_seen: int = 0
    num_kept: int = 0
    num_dropped: int = 0
    num_failed: int = 0
    duration_s: float = 0.0  # of the clips seen
    kept_s: float = 0.0  # of the clips kept
    usage: Usage = Usage()
    was_done: bool = False  # another worker had committed it before this one came to it: nothing was worth a note
    error: str | None = None  # the unit as a whole failed; nothing was committed
    engine_gone: bool = False  # it failed since what answers its clips is gone: this worker can do no other unit either


class Progress(Protocol):
    """Who is told how a run goes: the live display, plain lines, or nobody."""

    def phase(self, name: str, phase: Phase, *, num_units: int, num_done: int) -> None:
        """A phase of pass `name` begins; `num_done` of its `num_units` units were done before."""

    def unit(self, outcome: Outcome) -> None:
        """A unit of the current phase ended."""

    def clips(self, count: int) -> None:
        """`count` more clips were worked on in the current phase, not committed yet."""

    def note(self, text: str) -> None:
        """A line worth showing: a worker was replaced, a clip failed."""


class Silent:
    """A Progress that tells nobody."""

    def phase(self, name: str, phase: Phase, *, num_units: int, num_done: int) -> None:
        """Ignored."""

    def unit(self, outcome: Outcome) -> None:
        """Ignored."""

    def clips(self, count: int) -> None:
        """Ignored."""

    def note(self, text: str) -> None:
        """Ignored."""
