"""`shardpipe plan CONFIG`: what a run would do now, and what it would take."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from shardpipe.cli.arguments import AsJson, ConfigFile, Overrides

if TYPE_CHECKING:
    from shardpipe.config.models import Config


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
    from shardpipe.cli.output import hours, money, num_bytes, write_json, write_line, write_table  # noqa: PLC0415
    from shardpipe.cli.tables import cost  # noqa: PLC0415
    from shardpipe.executors.plan import plan_config  # noqa: PLC0415

    report = plan_config(config, only=only, limit=limit, partial=partial, add_sources=add_sources)
    if as_json:
        phases = [
            asdict(each) | {"cost": cost(each.usage, config.prices) if each.usage else None} for each in report.phases
        ]
        write_json({"root": report.root, "phases": phases, "num_new_videos": report.num_new_videos})
        return
    header = ["pass", "phase", "units", "done", "clips to do", "CPU h", "GPU h", "requests", "bytes"]
    priced = config.prices is not None
    rows = []
    for each in report.phases:
        use = each.usage
        row = [each.name, each.phase, _count(each.num_units), _count(each.num_done), _count(each.num_clips)]
        row += [
            hours(use.cpu_s if use else None),
            hours(use.gpu_s if use else None),
            _count(use.requests if use else None),
        ]
        row += [num_bytes(use.bytes_read + use.bytes_written if use else None)]
        if config.prices is not None:
            row += [money(cost(use, config.prices)) if use else "-"]
        rows.append(row)
    write_line(f"root  {report.root}")
    write_table([*header, *([config.prices.currency] if config.prices is not None else [])], rows, left=2)
    for each in report.phases:
        if each.decoding:
            write_line(
                f"{each.name}: {', '.join(each.decoding)} will decode: the cached frames of its input can never serve all that "
                "they ask for (`frames_from: members_only` refuses that, and says why)"
            )
    if report.num_new_videos is not None:
        write_line(f"{report.num_new_videos:,} new videos at {add_sources} would be added; they are not counted above")
    if any(each.usage is None for each in report.phases):
        write_line(
            "- is not known yet: `shardpipe run CONFIG --limit 1` measures it" + (", and its cost" if priced else "")
        )


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
