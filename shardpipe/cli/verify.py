"""`shardpipe verify ROOT`: whether everything is what its rows say."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from shardpipe.cli.arguments import AsJson, Root


def command(
    root: Root,
    *,
    deep: Annotated[
        bool, typer.Option("--deep", help="Decode every clip too; every byte is hashed in any case.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check that every object is what its rows and records say; exit 1 if one is not."""
    from shardpipe.cli.output import write_json, write_line  # noqa: PLC0415
    from shardpipe.cli.progress import showing_bytes  # noqa: PLC0415  --help must not wait for pyarrow
    from shardpipe.engine.verifying.verify import verify  # noqa: PLC0415

    with showing_bytes(root, "read") as tell:
        report = verify(root, deep=deep, tell=tell)
    if as_json:
        write_json(asdict(report))
    else:
        for problem in report.problems:
            write_line(str(problem))
        for note in report.notes:
            print(note, file=sys.stderr)  # noqa: T201  the log
        write_line(f"{report.num_objects:,} objects checked, {len(report.problems)} problems")
    if report.problems:
        raise typer.Exit(1)
