"""`shardpipe status ROOT`: where a run stands, from any machine."""

from shardpipe.cli.arguments import AsJson, Root


def command(root: Root, *, as_json: AsJson = False) -> None:
    """Say where every Dataset of a root stands: units, clips seen, kept, dropped by rule, failed, bytes, rate, ETA."""
    from shardpipe.cli.tables import write_status  # noqa: PLC0415  --help must not wait for pyarrow
    from shardpipe.engine.views.report import status  # noqa: PLC0415
    from shardpipe.storage.store import open_store  # noqa: PLC0415

    write_status(status(open_store(root, read_only=True)), as_json=as_json)
