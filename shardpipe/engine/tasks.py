"""What a run sends to its workers: one small picklable task a phase.

What does the work (decoders, detectors, models) is imported where a worker is made, not where a run is planned.
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from shardpipe.core.columns import Columns
from shardpipe.core.cutting import WriteSpec
from shardpipe.core.detector import Detector
from shardpipe.core.filecache import CacheSettings
from shardpipe.core.scene import ScenePolicy
from shardpipe.core.work import Phase, WorkerNeeds
from shardpipe.engine.worker import Watch, Worker
from shardpipe.storage.store import Store

if TYPE_CHECKING:
    from shardpipe.engine.passes.program import Program


@dataclass(frozen=True)
class CutTask:
    """`cut` of one root. passthrough: the types of the sources' own columns. cache: where remote sources are kept whole, if they are."""

    name: str
    fingerprint: str
    detector: Detector
    policy: ScenePolicy
    write: WriteSpec
    passthrough: Columns
    clip_timeout_s: float
    cache: CacheSettings | None = None
    phase: Phase = "cut"

    @property
    def needs(self) -> WorkerNeeds:
        """A device, where its detector does."""
        return WorkerNeeds(self.detector.uses_device)

    def make(self, store: Store, device: str, watch: Watch) -> Worker:
        """A worker for units of this task, whose detector computes on `device`."""
        from shardpipe.engine.cutting.cut import CutWorker  # noqa: PLC0415

        return CutWorker(replace(self, detector=self.detector.placed(device)), store, watch)


@dataclass(frozen=True)
class PassTask:
    """A pass that writes rows. `inputs`: the Datasets that it folds. `decoders` 0: decode in the worker itself."""

    name: str
    fingerprint: str
    program: "Program"
    inputs: tuple[str, ...]
    reuse: tuple[str, ...]
    unit_clips: int | None
    batch_clips: int
    decoders: int
    clip_timeout_s: float
    batch_timeout_s: float
    clip_memory: int
    phase: Phase = "rows"

    @property
    def needs(self) -> WorkerNeeds:
        """What its stages need."""
        return self.program.needs

    def make(self, store: Store, device: str, watch: Watch) -> Worker:
        """A worker with its stages set up on `device`."""
        from shardpipe.engine.passes.passwork import PassWorker  # noqa: PLC0415

        return PassWorker(self, store, device, watch)


@dataclass(frozen=True)
class EmitTask:
    """The emit phase of a pass; its units are the shards of the plan."""

    name: str
    phase: Phase = "emit"
    needs: WorkerNeeds = field(default_factory=WorkerNeeds)

    def make(self, store: Store, device: str, watch: Watch) -> Worker:  # noqa: ARG002  it needs no device, and nothing crashes
        """A worker; the plan is read once."""
        from shardpipe.engine.emission.emitwork import EmitWorker  # noqa: PLC0415

        return EmitWorker(store, self.name)
