"""A unit on its way through a pass's worker: its clips, and how many of them are not through yet."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from shardpipe.core.work import UnitJob
from shardpipe.engine.passes.decoders import Decoded
from shardpipe.engine.passes.stagebatch import ClipState
from shardpipe.storage.dataset import Fold
from shardpipe.storage.rows import RowsMeta


@dataclass
class Flight:
    """A unit in flight.

    ready: clips that need no decode. arrived: those that were decoded, waiting to be a batch.
    num_left: clips that are not through all steps; the unit is committed at 0.
    committed: by another worker, before this one began. failure: why the unit as a whole cannot be done.
    """

    job: UnitJob
    fold: Fold
    clips: list[ClipState]
    num_left: int = 0
    num_decoding: int = 0
    ready: list[ClipState] = field(default_factory=list)
    arrived: list[ClipState] = field(default_factory=list)
    frames: dict[str, Decoded] = field(default_factory=dict)
    decode_cpu_s: float = 0.0
    gpu_s: float = 0.0
    num_idle: int = 0
    idle_s: float = 0.0
    num_decoded: int = 0
    num_from_stills: int = 0
    committed: RowsMeta | None = None
    failure: BaseException | None = None

    def next_batch(self, size: int, max_bytes: int) -> list[ClipState]:
        """Decoded clips, `size` of them or as many as take `max_bytes`; fewer only where no more will come."""
        num, num_bytes = 0, 0
        for clip in self.arrived[:size]:
            num += 1
            num_bytes += self.frames[clip.key].num_bytes
            if num_bytes >= max_bytes:
                break
        if num < size and num_bytes < max_bytes and self.num_decoding:
            return []
        batch, self.arrived = self.arrived[:num], self.arrived[num:]
        return batch

    def end(self, clips: Sequence[ClipState]) -> None:
        """These clips are through, or dropped: their frames are given back."""
        self.num_left -= len(clips)
        for clip in clips:
            self.release(clip)

    def release(self, clip: ClipState) -> None:
        """Give back a clip's frames, if it has any still."""
        frames = self.frames.pop(clip.key, None)
        if frames is not None:
            frames.release()

    def abandon(self) -> None:
        """Give back all frames of a unit that failed."""
        for frames in self.frames.values():
            frames.release()
        self.frames.clear()
        self.arrived = []
