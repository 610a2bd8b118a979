"""`shardpipe retry ROOT`: the clips that failed, once more."""

import sys
from dataclasses import asdict

import typer

from shardpipe.cli.arguments import AsJson, Root, Scratch, ScratchBytes, scratch_settings


def command(
    root: Root, *, scratch: Scratch = None, scratch_bytes: ScratchBytes = None, as_json: AsJson = False
) -> None:
    """Do the failed clips of a root again, as a new generation of their units' rows."""
    from shardpipe.cli.output import write_json, write_line  # noqa: PLC0415  --help must not wait for pyarrow
    from shardpipe.cli.progress import showing_progress  # noqa: PLC0415
    from shardpipe.executors.retry import retry_root  # noqa: PLC0415

    own = scratch_settings(scratch, scratch_bytes)
    with showing_progress() as progress:
        report = retry_root(root, progress=progress, scratch=own)
    if as_json:
        write_json(asdict(report))
    elif report.passes:
        write_line(f"retried: {', '.join(report.passes)}. To do what follows from it: shardpipe run CONFIG")
    else:
        write_line("nothing to retry: no clip has failed")
    for name, reason in report.pending.items():
        print(f"{name}: {reason}", file=sys.stderr)  # noqa: T201  the log
    for unit, error in report.failed_units.items():
        print(f"unit {unit} failed: {error}", file=sys.stderr)  # noqa: T201
    if report.failed_units or report.pending:
        raise typer.Exit(1)
