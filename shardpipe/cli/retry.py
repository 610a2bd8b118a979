"""`shardpipe retry ROOT`: the clips that failed, once more."""

from dataclasses import asdict
from typing import Annotated

import typer

from shardpipe.cli.arguments import AsJson, Root


def command(
    root: Root,
    *,
    config: Annotated[
        str | None, typer.Option("--config", metavar="CONFIG", help="Take `execute` and stages from this config.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Do the failed clips of a root again, as a new generation of their units' rows."""
    from shardpipe.cli.output import write_json, write_line  # noqa: PLC0415  --help must not wait for pyarrow
    from shardpipe.cli.progress import showing_progress  # noqa: PLC0415
    from shardpipe.config.load import load_config  # noqa: PLC0415
    from shardpipe.executors.run import retry_root  # noqa: PLC0415

    loaded = None if config is None else load_config(config)
    with showing_progress() as progress:
        report = retry_root(root, loaded, progress=progress)
    if as_json:
        write_json(asdict(report))
    else:
        write_line(f"{root}: {', '.join(report.passes) or 'no Dataset'} complete")
    if report.failed_units:
        raise typer.Exit(1)
