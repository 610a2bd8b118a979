"""`shardpipe emit PASS`: shards of any finished pass, without running a model."""

from typing import Annotated

import typer

from shardpipe.cli.arguments import AsJson, Scratch, ScratchBytes, scratch_settings

List = list[str] | None


def command(
    dataset: Annotated[str, typer.Argument(metavar="PASS", help="The pass's folder or URL: ROOT/NAME.")],
    *,
    shard_bytes: Annotated[str, typer.Option(metavar="SIZE", help="Target size of a shard: 512MiB.")] = "512MiB",
    member: Annotated[
        List, typer.Option(metavar="EXT", help="A file of each clip: json, mp4, ...; again for more.")
    ] = None,
    column: Annotated[
        List, typer.Option(metavar="NAME", help="A column of the sidecars; again for more. Default: all.")
    ] = None,
    shuffle: Annotated[int | None, typer.Option(metavar="SEED", min=0, help="Deal clips in a random order.")] = None,
    bucket: Annotated[
        List, typer.Option(metavar="NAME", help="A column whose values must be equal in a shard.")
    ] = None,
    plan_units: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Plan in windows of N input units.")
    ] = None,
    allow_missing: Annotated[int, typer.Option(metavar="N", min=0, help="Emit although N units have no rows.")] = 0,
    scratch: Scratch = None,
    scratch_bytes: ScratchBytes = None,
    as_json: AsJson = False,
) -> None:
    """Write shards of a finished pass from its committed rows; no model runs."""
    from shardpipe.cli.output import num_bytes, write_json, write_line  # noqa: PLC0415  --help must not wait for pyarrow
    from shardpipe.cli.progress import showing_progress  # noqa: PLC0415
    from shardpipe.config.parts import EmitConfig  # noqa: PLC0415
    from shardpipe.config.sizes import parse_size  # noqa: PLC0415
    from shardpipe.core.errors import ConfigError  # noqa: PLC0415
    from shardpipe.engine.views.opened import split_url  # noqa: PLC0415
    from shardpipe.engine.views.report import funnel  # noqa: PLC0415
    from shardpipe.executors.run import emit_pass  # noqa: PLC0415
    from shardpipe.storage.store import open_store  # noqa: PLC0415

    num_bytes_wanted = parse_size(shard_bytes)
    if num_bytes_wanted < 1:
        raise ConfigError(f"--shard-bytes {shard_bytes}: give at least 1 byte")
    root, name = split_url(dataset)
    settings = EmitConfig(
        members=member or ["json", "mp4"],
        columns=column,
        shuffle=shuffle,
        bucket=bucket or [],
        plan_units=plan_units,
        allow_missing=allow_missing,
    )
    own = scratch_settings(scratch, scratch_bytes)
    with showing_progress() as progress:
        emit_pass(root, name, settings, shard_bytes=num_bytes_wanted, progress=progress, scratch=own)
    made = funnel(open_store(root, read_only=True), name).passes[-1]
    if as_json:
        write_json(
            {
                "root": root,
                "name": name,
                "num_shards": made.num_shards_done,
                "num_clips": made.num_kept,
                "num_bytes": made.num_shard_bytes,
            }
        )
    else:
        write_line(
            f"{made.num_shards_done} shards, {made.num_kept:,} clips, {num_bytes(made.num_shard_bytes)}: {root}/{name}/shards"
        )
