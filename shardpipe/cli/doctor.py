"""`shardpipe doctor ROOT`: what crashes left on a root, and what is half made."""

from dataclasses import asdict
from typing import Annotated

import typer

from shardpipe.cli.arguments import AsJson, Root

DONE = {"delete": "deleted", "abort": "aborted"}


def command(
    root: Root,
    *,
    fix: Annotated[
        bool, typer.Option("--fix", help="Do it: abort dead uploads, delete what is needed by nobody.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what crashes left and what is half made; exit 1 if there is something that --fix mends. Drivers may be at work."""
    from shardpipe.cli.output import num_bytes, one_line, write_json, write_line  # noqa: PLC0415
    from shardpipe.engine.upkeep.doctor import examine  # noqa: PLC0415  --help must not wait for pyarrow
    from shardpipe.engine.upkeep.doctor import fix as mend  # noqa: PLC0415
    from shardpipe.storage.store import open_store  # noqa: PLC0415

    found = examine(open_store(root, read_only=True))
    wanted = [finding for finding in found.findings if finding.fix]
    store = open_store(root) if fix and wanted else None
    told = []
    num_done = 0
    for finding in found.findings:
        done = finding.fix != "" and store is not None and mend(store, finding)
        num_done += done
        told.append({**asdict(finding), "done": done})
        if not as_json:
            verb = "left" if store is not None or not finding.fix else f"would {finding.fix}"
            size = "" if finding.num_bytes is None else f" ({num_bytes(finding.num_bytes)})"
            line = f"{DONE[finding.fix] if done else verb} {finding.kind} {finding.path}{size}: {finding.text}"
            write_line(one_line(line))
    if as_json:
        write_json({"root": root, "drivers": [asdict(driver) for driver in found.drivers], "findings": told})
    elif store is not None:
        write_line(f"{num_done} of {len(wanted)} things mended")
    else:
        write_line(f"{len(wanted)} things that `shardpipe doctor {root} --fix` mends" if wanted else "nothing to mend")
    if num_done < len(wanted):
        raise typer.Exit(1)
