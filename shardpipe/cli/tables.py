"""Status and funnel as tables and as JSON."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from shardpipe.cli.output import clock, hours, money, num_bytes, share, write_json, write_line, write_table
from shardpipe.config.parts import Prices
from shardpipe.core.work import Usage
from shardpipe.engine.views.report import PassStatus, Status
from shardpipe.storage.drivers import in_words

GB = 1e9
PER = 1000
HOUR_S = 3600


def cost(usage: Usage, prices: Prices | None) -> float | None:
    """What `usage` costs in the currency of `prices`; None without prices."""
    if prices is None:
        return None
    return (
        usage.cpu_s / HOUR_S * prices.cpu_hour
        + usage.gpu_s / HOUR_S * prices.gpu_hour
        + usage.requests / PER * prices.requests_1000
        + (usage.bytes_read + usage.bytes_written) / GB * prices.gb_moved
    )


def _store(found: Status) -> str:
    """What holds on the store, and who drives there."""
    honours = found.honours
    if honours is None:
        return "not probed yet: the first run finds out what it honours"
    said = [
        f"conditional PUT {'honoured' if honours.conditional_put else 'IGNORED (one live driver at a time)'}",
        f"conditional completion {'honoured' if honours.conditional_complete else 'ignored'}",
        f"listing after write {'yes' if honours.list_after_write else 'LATE'}",
        *(["live drivers: " + in_words(found.drivers)] if found.drivers else []),
    ]
    return ", ".join(said)


def write_status(found: Status, *, as_json: bool) -> None:
    """Each Dataset of a root: how far it is, what it saw, what it dropped and why."""
    if as_json:
        store = {
            "honours": None if found.honours is None else asdict(found.honours),
            "drivers": [asdict(each) for each in found.drivers],
        }
        passes = [asdict(each) for each in found.passes]
        write_json({"root": found.root, "store": store, "num_removed": found.num_removed, "passes": passes})
        return
    header = [
        "pass",
        "state",
        "units",
        "seen",
        "kept",
        "dropped",
        "failed",
        "hours",
        "kept h",
        "bytes",
        "clips/s",
        "ETA",
    ]
    rows = []
    for each in found.passes:
        units = f"{each.num_units_done}/{each.num_units}"
        if each.num_shards:
            units += f" +{each.num_shards_done}/{each.num_shards} shards"
        counts = [f"{count:,}" for count in (each.num_seen, each.num_kept, each.num_dropped, each.num_failed)]
        rate = "-" if each.clips_per_s is None else f"{each.clips_per_s:.1f}"
        state = "complete" if each.complete else "not complete"
        amounts = [hours(each.seen_s), hours(each.kept_s), num_bytes(each.num_bytes), rate, clock(each.eta_s)]
        rows.append([each.name, state, units, *counts, *amounts])
    write_line(f"root  {found.root}")
    write_line(f"store {_store(found)}")
    if found.num_removed:
        write_line(f"{found.num_removed:,} clips are removed")
    write_table(header, rows, left=3)
    for each in found.passes:
        if each.gap is not None:
            write_line(
                f"{each.name}: waits for unit {each.gap} of its input: its stages look through all units up to a clip's own"
            )
    losses = _losses(found)
    if losses:
        write_line("")
        write_table(["pass", "dropped by", "clips", "hours"], losses, left=2)


def write_funnel(
    found: Status, prices: Prices | None, *, as_json: bool, extra: Mapping[str, Any] | None = None
) -> None:
    """How many clips and hours were left after each rule, and what it all took."""
    kept = found.passes[-1].num_kept if found.passes else 0
    usage = found.usage
    total = cost(usage, prices)
    per_1000 = None if total is None or not kept else total * PER / kept
    if as_json:
        passes = [asdict(each) for each in found.passes]
        totals = asdict(usage) | {"cost": total, "cost_per_1000_kept": per_1000}
        write_json({"root": found.root, "passes": passes, "total": totals, **(extra or {})})
        return
    rows: list[list[str]] = []
    for each in found.passes:
        rows.append([each.name, "clips seen", f"{each.num_seen:,}", hours(each.seen_s), ""])
        for loss in each.losses:
            part = share(loss.num_clips, each.num_seen)
            rows.append(
                [
                    "",
                    f"- {loss.reason}",
                    f"-{loss.num_clips:,}",
                    f"-{hours(loss.duration_s)}" if loss.duration_s else "0",
                    part,
                ]
            )
        rows.append(["", "kept", f"{each.num_kept:,}", hours(each.kept_s), share(each.num_kept, each.num_seen)])
    write_table(["pass", "", "clips", "hours", "share"], rows, left=2)
    write_line("")
    moved = f"{num_bytes(usage.bytes_read)} read, {num_bytes(usage.bytes_written)} written"
    write_line(
        f"took  {hours(usage.cpu_s)} CPU hours, {hours(usage.gpu_s)} GPU hours, {usage.requests:,} requests, {moved}"
    )
    if usage.num_decoded or usage.num_from_stills:
        write_line(f"saw   {usage.num_decoded:,} clips decoded, {usage.num_from_stills:,} from cached frames")
    if usage.num_idle:
        write_line(f"idle  an engine had no clip {usage.num_idle:,} times, {usage.idle_s:.1f} s in all")
    if prices is not None and total is not None:
        each_1000 = "" if per_1000 is None else f", {money(per_1000)} for 1,000 kept clips"
        write_line(f"cost  {money(total)} {prices.currency}{each_1000}")
    for each in found.passes:
        write_line(_place(found.root, each))


def _losses(found: Status) -> list[list[str]]:
    return [
        [each.name, loss.reason, f"{loss.num_clips:,}", hours(loss.duration_s)]
        for each in found.passes
        for loss in each.losses
    ]


def _place(root: str, each: PassStatus) -> str:
    state = "" if each.complete else "  (not complete)"
    return f"{each.name:5} {root}/{each.name}{state}"
