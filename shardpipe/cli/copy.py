"""`shardpipe copy SRC DST`: a root, or one Dataset and those that it was made from, to another store."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from shardpipe.cli.arguments import AsJson, Scratch, ScratchBytes, scratch_settings

if TYPE_CHECKING:
    from shardpipe.engine.upkeep.copying import CopyReport


def command(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A root, or one Dataset of it: ROOT/NAME.")],
    destination: Annotated[str, typer.Argument(metavar="DST", help="The root to copy to: a folder or an s3:// URL.")],
    *,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every object at the destination back, those that were there too.")
    ] = False,
    scratch: Scratch = None,
    scratch_bytes: ScratchBytes = None,
    as_json: AsJson = False,
) -> None:
    """Copy Datasets to another store, each tar checked by its sha256; again: only what is not there yet."""
    from shardpipe.cli.output import write_json  # noqa: PLC0415  --help must not wait for pyarrow
    from shardpipe.cli.progress import showing_bytes  # noqa: PLC0415
    from shardpipe.engine.upkeep.copying import copying  # noqa: PLC0415
    from shardpipe.executors.driver import driving  # noqa: PLC0415

    job = copying(source, destination, scratch=scratch_settings(scratch, scratch_bytes))
    with driving(job.destination), showing_bytes(source, "copied") as report:
        done = job.run(verify=verify, report=report)
    if as_json:
        write_json(asdict(done))
    else:
        _write(done)
    if done.problems or done.unfinished:
        raise typer.Exit(1)


def _write(done: "CopyReport") -> None:
    from shardpipe.cli.output import num_bytes, write_line  # noqa: PLC0415

    for problem in done.problems:
        write_line(str(problem))
    if done.num_left:
        print(f"{done.num_left:,} objects that nothing names were left behind", file=sys.stderr)  # noqa: T201  the log
    write_line(
        f"{done.num_objects:,} objects copied ({num_bytes(done.num_bytes)}), "
        f"{done.num_there:,} were there ({num_bytes(done.num_bytes_there)}), {len(done.problems):,} problems"
    )
    for name in done.datasets:
        write_line(f"{done.destination}/{name}")
    for name in done.unfinished:
        write_line(f"{done.destination}/{name}  (not finished: it is no Dataset yet)")
