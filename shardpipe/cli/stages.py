"""`shardpipe stages [TYPE]`: the stages and detectors that a config may name."""

from typing import Annotated, Any

import typer

from shardpipe.cli.arguments import AsJson


def command(
    name: Annotated[str | None, typer.Argument(metavar="TYPE", help="Show this stage or detector in full.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the stages and scene detectors that a config may name, or show one with its fields and columns."""
    from shardpipe.cli.output import write_json, write_table  # noqa: PLC0415  --help must not wait for numpy
    from shardpipe.config.catalogue import catalogue  # noqa: PLC0415
    from shardpipe.config.registry import detector_names, nearest, stage_names  # noqa: PLC0415
    from shardpipe.core.errors import ConfigError  # noqa: PLC0415

    entries = catalogue(name)
    if not entries:
        known = [*stage_names(), *detector_names()]
        raise ConfigError(f"{name!r} is no stage or detector{nearest(str(name), known)}; one of {', '.join(known)}")
    if as_json:
        write_json([each.to_json() for each in entries])
    elif name is not None:
        for each in entries:
            _show(each)
    else:
        write_table(["type", "kind", "what"], [[e.type, e.kind, e.summary] for e in entries], left=3)


def _show(entry: Any) -> None:  # noqa: ANN401  a catalogue Entry, whose module --help does not import
    from shardpipe.cli.output import num_bytes, write_line, write_table  # noqa: PLC0415

    write_line(f"{entry.kind} {entry.type}\n\n{entry.doc}\n")
    if entry.fields:
        write_table(
            ["field", "type", "default", "what"], [[f.name, f.kind, f.default, f.what] for f in entry.fields], left=4
        )
    if entry.loads:
        write_line("")
        loads = [[each.role, each.url, num_bytes(each.num_bytes), each.licence] for each in entry.loads]
        write_table(["loads", "url", "size", "licence"], loads, left=4)
    if entry.columns:
        write_line("")
        write_table(["writes", "type"], list(entry.columns.items()), left=2)
