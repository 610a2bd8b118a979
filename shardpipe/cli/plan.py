"""`shardpipe plan CONFIG`: what a run would do now, and what it would take."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from shardpipe.cli.arguments import AsJson, ConfigFile, Overrides

if TYPE_CHECKING:
    from shardpipe.config.models import Config
    from shardpipe.core.report import PlanReport
    from shardpipe.core.work import Usage


def command(config: ConfigFile, *, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Check a config and say what a run would do now: units, clips, hours, requests, bytes, cost."""
    from shardpipe.config.load import load_config  # noqa: PLC0415  --help must not wait for pyarrow

    show_plan(load_config(config, overrides or ()), as_json=as_json)


def show_plan(
    config: "Config",
    *,
    as_json: bool,
    only: str | None = None,
    limit: int | None = None,
    partial: bool = False,
    add_sources: str | None = None,
) -> None:
    """Write to stdout what a run of `config` would do; the options are those of `run`."""
    from shardpipe.cli.output import num_bytes, write_json, write_line, write_table  # noqa: PLC0415
    from shardpipe.cli.tables import cost  # noqa: PLC0415
    from shardpipe.executors.plan import plan_config  # noqa: PLC0415

    report = plan_config(config, only=only, limit=limit, partial=partial, add_sources=add_sources)
    if as_json:
        phases = [
            asdict(each) | {"cost": cost(each.usage, config.prices) if each.usage else None} for each in report.phases
        ]
        total = {"cost": cost(report.to_do, config.prices), "cost_per_1000_kept": _per_1000_kept(report, config)}
        write_json(asdict(report) | {"phases": phases, "total": asdict(report.to_do) | total})
        return
    header = ["pass", "phase", "units", "done", "clips to do", "CPU h", "GPU h", "requests", "bytes"]
    rows = [
        [
            each.name,
            each.phase,
            *map(_count, (each.num_units, each.num_done, each.num_clips)),
            *_taken(each.usage, config),
        ]
        for each in report.phases
    ]
    known = report.to_do if any(each.usage for each in report.phases) else None
    rows.append(["in all", "", "", "", "", *_taken(known, config)])
    write_line(f"root  {report.root}")
    write_table([*header, *([config.prices.currency] if config.prices is not None else [])], rows, left=2)
    for line in _notes(report, config, added=add_sources, size=num_bytes(report.num_source_bytes)):
        write_line(line)


def _notes(report: "PlanReport", config: "Config", *, added: str | None, size: str) -> Iterator[str]:
    """What stands under the table."""
    from shardpipe.cli.output import money  # noqa: PLC0415

    if report.num_videos is not None:
        yield f"{report.num_videos:,} videos, {size}; their units are listed when the run begins"
    for each in report.phases:
        if each.decoding and (each.num_units is None or each.num_done != each.num_units):
            yield (
                f"{each.name}: {', '.join(each.decoding)} will decode: the cached frames of its input can never serve all that "
                "they ask for (`frames_from: members_only` refuses that, and says why)"
            )
        if each.gap is not None:
            yield f"{each.name}: waits for unit {each.gap} of its input: its stages look through all units up to a clip's own"
    if report.num_new_videos is not None:
        yield f"{report.num_new_videos:,} new videos at {added} would be added; they are not counted above"
    per_1000 = _per_1000_kept(report, config)
    if config.prices is not None and per_1000 is not None:
        least = "at least " if any(each.usage is None for each in report.phases) else ""
        yield f"cost  {least}{money(per_1000)} {config.prices.currency} for 1,000 kept clips, what is done included"
    unknown = {each.phase for each in report.phases if each.usage is None}
    if unknown - {"emit"}:
        yield "- is not known yet: `shardpipe run CONFIG --limit 1` measures cut and rows, a pass's shards are known once it is planned"
    elif unknown:
        yield "- is not known yet: a pass's shards are planned when all its rows are there"


def _per_1000_kept(report: "PlanReport", config: "Config") -> float | None:
    """The cost of all that is known, done or not, for 1,000 clips that are kept in the end; None without prices or clips."""
    from shardpipe.cli.tables import PER, cost  # noqa: PLC0415

    total = cost(report.spent + report.to_do, config.prices)
    return None if total is None or not report.num_kept else total * PER / report.num_kept


def _taken(use: "Usage | None", config: "Config") -> list[str]:
    """The cells of what is taken, its cost where there are prices."""
    from shardpipe.cli.output import hours, money, num_bytes  # noqa: PLC0415
    from shardpipe.cli.tables import cost  # noqa: PLC0415

    priced = [] if config.prices is None else [money(cost(use, config.prices) if use else None)]
    if use is None:
        return ["-"] * 4 + priced
    return [
        hours(use.cpu_s),
        hours(use.gpu_s),
        _count(use.requests),
        num_bytes(use.bytes_read + use.bytes_written),
        *priced,
    ]


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
