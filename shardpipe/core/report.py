"""What a run and a plan tell about themselves. All plain values: the CLI prints them, a program reads them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shardpipe.core.work import Phase, Usage


@dataclass(frozen=True)
class RunReport:
    """What came of a run.

    passes: names of the Datasets that are complete now, in the config's order ("clips" first).
    failed_units: "score/000012" to the error of a unit that failed on every try; nothing was committed for it.
    pending: name of a Dataset that is not complete to the reason: `--limit`, `--partial`, units that failed.
    """

    root: str
    passes: tuple[str, ...] = ()
    failed_units: Mapping[str, str] = field(default_factory=dict)
    pending: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PlannedPhase:
    """One phase of one pass as it would run now.

    num_units, num_done: None where they are known only when the pass before it has ended. Units whose input is not
    there yet are counted.
    num_clips: still to do, estimated from the passes before it; None while nothing is known.
    usage: what these clips will take, from what earlier units of this pass took; None while there are none.
    decoding: stages that decode clips although their input has cached frames, as these can never serve them.
    gap: of a pass whose stages look through the Dataset, the first unit of its input that is not there: all from it on wait.
    """

    name: str
    phase: Phase
    num_units: int | None = None
    num_done: int | None = None
    num_clips: int | None = None
    usage: Usage | None = None
    decoding: tuple[str, ...] = ()
    gap: str | None = None


@dataclass(frozen=True)
class PlanReport:
    """What a run would do now: the phases in order.

    num_new_videos: how many `--add-sources` would append; None without it. num_videos, num_source_bytes: what `cut` would
    begin with; None once its units are listed. spent: what was taken so far. num_kept: clips that the last of the passes
    will keep, by its share so far; None while it has none, or the config has no prices.
    """

    root: str
    phases: tuple[PlannedPhase, ...] = ()
    num_new_videos: int | None = None
    num_videos: int | None = None
    num_source_bytes: int | None = None
    spent: Usage = field(default_factory=Usage)
    num_kept: int | None = None

    @property
    def to_do(self) -> Usage:
        """What the phases will take, as far as it is known."""
        return sum((each.usage for each in self.phases if each.usage is not None), Usage())
