"""`shardpipe gc ROOT`: tars of units that no rows name."""

from dataclasses import asdict
from typing import Annotated

import typer

from shardpipe.cli.arguments import AsJson, Root


def command(
    root: Root,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete the tars of lost races and dead workers, which no rows name; also while drivers are at work."""
    from shardpipe.cli.output import num_bytes, write_json, write_line  # noqa: PLC0415  --help must not wait for pyarrow
    from shardpipe.engine.upkeep.garbage import delete, unreferenced  # noqa: PLC0415
    from shardpipe.storage.dataset import Dataset  # noqa: PLC0415
    from shardpipe.storage.store import open_store  # noqa: PLC0415

    store = open_store(root, read_only=True)
    Dataset.names(store)
    tars = unreferenced(store)
    gone = [tar for tar in tars if not tar.why]
    kept = [tar for tar in tars if tar.why]
    if not dry_run and gone:
        delete(open_store(root), gone)
    total = sum(tar.num_bytes for tar in gone)
    if as_json:
        found = {"deleted": [asdict(tar) for tar in gone], "kept": [asdict(tar) for tar in kept]}
        write_json({"root": root, "dry_run": dry_run, "num_bytes": total, **found})
        return
    verb = "would delete" if dry_run else "deleted"
    for tar in gone:
        write_line(f"{verb} {tar.path} ({num_bytes(tar.num_bytes)})")
    for tar in kept:
        write_line(f"kept {tar.path} ({num_bytes(tar.num_bytes)}): {tar.why}")
    write_line(f"{verb} {len(gone)} tars that no rows name, {num_bytes(total)}")
