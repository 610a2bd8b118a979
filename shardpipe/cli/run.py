"""`shardpipe run CONFIG`: do what the config says that is not done yet."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from shardpipe.cli.arguments import AsJson, ConfigFile, Overrides


def command(
    config: ConfigFile,
    *,
    only: Annotated[
        str | None,
        typer.Option("--pass", metavar="NAME", help="Run this pass alone (or `clips`); its input must be there."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="Stop each pass after N units: a look before the whole."),
    ] = None,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the config and say what would run; change nothing.")
    ] = False,
    partial: Annotated[
        bool,
        typer.Option("--partial", help="Run later passes on the units that earlier ones have finished; emit nothing."),
    ] = False,
    add_sources: Annotated[
        str | None, typer.Option("--add-sources", metavar="URL", help="Append the videos there as a new batch.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a config: cut, then its passes. What is committed already is not done again."""
    from shardpipe.cli.plan import show_plan  # noqa: PLC0415  --help must not wait for pyarrow
    from shardpipe.cli.progress import showing_progress  # noqa: PLC0415
    from shardpipe.cli.tables import write_funnel  # noqa: PLC0415
    from shardpipe.config.load import load_config  # noqa: PLC0415

    loaded = load_config(config, overrides or ())
    if dry_run:
        show_plan(loaded, as_json=as_json, only=only, limit=limit, partial=partial, add_sources=add_sources)
        return
    from shardpipe.engine.views.report import status  # noqa: PLC0415  a bad config is told at once
    from shardpipe.executors.run import run_config  # noqa: PLC0415
    from shardpipe.storage.store import open_store  # noqa: PLC0415

    with showing_progress() as progress:
        report = run_config(loaded, only=only, limit=limit, partial=partial, add_sources=add_sources, progress=progress)
    names = ["clips", *(each.name for each in loaded.passes)]
    found = status(open_store(loaded.root, read_only=True), only=names)
    write_funnel(found, loaded.prices, as_json=as_json, extra={"run": asdict(report)})
    for name, reason in report.pending.items():
        print(f"{name} is not complete: {reason}", file=sys.stderr)  # noqa: T201  the log
    for unit, error in report.failed_units.items():
        print(f"unit {unit} failed: {error}", file=sys.stderr)  # noqa: T201
    if report.failed_units:
        raise typer.Exit(1)
