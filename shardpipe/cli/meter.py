"""How fast a phase goes: clips a second, keep rate, time left. Pure: the time of each event is given."""

from dataclasses import dataclass, field

from shardpipe.core.work import Outcome, Phase


@dataclass
class Meter:
    """Counts of one phase that began at `started_s` (seconds on any steady clock)."""

    name: str
    phase: Phase
    num_units: int
    num_before: int
    started_s: float
    num_done: int = 0
    num_clips: int = 0
    num_seen: int = 0
    num_kept: int = 0
    num_failed: int = 0
    failed_units: list[str] = field(default_factory=list)

    def unit(self, outcome: Outcome) -> None:
        """A unit ended."""
        if outcome.error is not None:
            self.failed_units.append(outcome.unit)
            return
        self.num_done += 1
        self.num_seen += outcome.num_seen
        self.num_kept += outcome.num_kept
        self.num_failed += outcome.num_failed

    def clips(self, count: int) -> None:
        """`count` more clips were worked on."""
        self.num_clips += count

    @property
    def title(self) -> str:
        """`score`, `train: emit`."""
        return f"{self.name}: emit" if self.phase == "emit" else self.name

    @property
    def units_text(self) -> str:
        """`3/12 units`."""
        return f"{self.num_before + self.num_done}/{self.num_units} {'shards' if self.phase == 'emit' else 'units'}"

    def clips_per_s(self, now_s: float) -> float:
        """Clips worked on a second since the phase began."""
        elapsed_s = now_s - self.started_s
        return max(self.num_clips, self.num_seen) / elapsed_s if elapsed_s > 0 else 0.0

    @property
    def keep_rate(self) -> float | None:
        """Share of the clips seen that are kept; None before the first."""
        return self.num_kept / self.num_seen if self.num_seen else None

    def eta_s(self, now_s: float) -> float | None:
        """Seconds left, by units done since the phase began; None before the first."""
        if not self.num_done:
            return None
        left = self.num_units - self.num_before - self.num_done - len(self.failed_units)
        return max(0, left) * (now_s - self.started_s) / self.num_done
