"""The counts that a rows object carries in its metadata, and the Outcome that they make."""

from collections.abc import Mapping, Sequence
from typing import Any

from shardpipe.core.work import Outcome, Usage
from shardpipe.storage.facts import DROPPED, DROPPED_S


def count(rows: Sequence[Mapping[str, Any]]) -> dict[str, int | float]:
    """The counts that rows carry in their metadata, of dropped clips by reason; seconds are of the clips."""
    kept = [row for row in rows if row["kept"]]
    counts: dict[str, int | float] = {
        "seen": len(rows),
        "kept": len(kept),
        "failed": sum(row["error"] is not None for row in rows),
        "seen_s": _seconds(rows),
        "kept_s": _seconds(kept),
    }
    by_reason: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if not row["kept"]:
            by_reason.setdefault(row["dropped_by"] or "error", []).append(row)
    for reason, dropped in by_reason.items():
        counts |= {f"{DROPPED}{reason}": len(dropped), f"{DROPPED_S}{reason}": _seconds(dropped)}
    return counts


def _seconds(rows: Sequence[Mapping[str, Any]]) -> float:
    return round(sum(row.get("duration_s") or 0.0 for row in rows), 6)


def outcome_of(unit: str, counts: Mapping[str, int | float], usage: Usage, *, was_done: bool = False) -> Outcome:
    """The Outcome of a committed unit."""
    seen, kept = int(counts["seen"]), int(counts["kept"])
    return Outcome(
        unit,
        num_seen=seen,
        num_kept=kept,
        num_dropped=seen - kept,
        num_failed=int(counts["failed"]),
        duration_s=float(counts["seen_s"]),
        kept_s=float(counts["kept_s"]),
        usage=usage,
        was_done=was_done,
    )
