"""`shardpipe inspect SHARD|DATASET [KEY]`: the clips of a shard or Dataset, or one clip's sidecar."""

from typing import Annotated

import typer

from shardpipe.cli.arguments import AsJson


def command(
    place: Annotated[
        str, typer.Argument(metavar="SHARD|DATASET", help="A .tar, or a Dataset's folder; paths or URLs.")
    ],
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="Write this clip's folded sidecar, as JSON.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the clips of a shard or Dataset, or write one clip's sidecar with all scores and captions so far."""
    if place.rstrip("/").endswith(".tar"):
        _shard(place, key, as_json=as_json)
    else:
        _dataset(place, key, as_json=as_json)


def _shard(url: str, key: str | None, *, as_json: bool) -> None:
    from shardpipe.cli.output import num_bytes, write_json, write_table  # noqa: PLC0415  --help must not wait for pyarrow
    from shardpipe.engine.emission.shard import Shard  # noqa: PLC0415

    shard = Shard(url)
    if key is not None:
        write_json(shard.sidecar(key), indent=2)
        return
    samples = shard.samples()
    if as_json:
        for each in samples:
            write_json({"key": each.key, "members": {ext: size for ext, (_, size) in each.members.items()}})
        return
    rows = [[each.key, " ".join(each.members), num_bytes(each.num_bytes)] for each in samples]
    write_table(["key", "members", "size"], rows, left=2)


def _dataset(url: str, key: str | None, *, as_json: bool) -> None:
    from shardpipe.cli.output import write_json, write_table  # noqa: PLC0415
    from shardpipe.core.errors import ConfigError  # noqa: PLC0415
    from shardpipe.engine.views.opened import OpenDataset, split_url  # noqa: PLC0415
    from shardpipe.storage.dataset import Dataset  # noqa: PLC0415
    from shardpipe.storage.store import open_store  # noqa: PLC0415

    root, name = split_url(url)
    dataset = OpenDataset(Dataset.there(open_store(root, read_only=True), name))
    if key is not None:
        try:
            write_json(dataset.sidecar(key), indent=2)
        except KeyError as error:
            raise ConfigError(str(error.args[0])) from error
        return
    if as_json:
        for row in dataset.rows():
            place = {name: row[name] for name in ("kept", "dropped_by", "error", "shard", "offset", "size")}
            write_json(dataset.sidecar_of(row) | place)
        return
    rows = []
    for row in dataset.rows():
        duration_s = "-" if row["duration_s"] is None else f"{row['duration_s']:.3f}"
        state = "kept" if row["kept"] else f"dropped: {row['dropped_by'] or ''}".rstrip(": ")
        if row["error"] is not None:
            state = f"{'kept, ' if row['kept'] else ''}error: {row['error']}"
        rows.append([row["key"], duration_s, row.get("shard") or "-", state])
    write_table(["key", "seconds", "shard", "state"], rows, left=4)
