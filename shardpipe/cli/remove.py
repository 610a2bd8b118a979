"""`shardpipe remove ROOT`: takedowns of clips and whole videos."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from shardpipe.cli.arguments import AsJson, Root, Scratch, ScratchBytes, scratch_settings

if TYPE_CHECKING:
    from shardpipe.executors.remove import RemovalReport

SHOWN = 5


def command(
    root: Root,
    *,
    where: Annotated[
        str | None,
        typer.Option(metavar="SQL", help="A rule: the clips of which it is true. --where \"source LIKE '%x%'\""),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose folded rows the rule sees. Default: clips.")
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A whole video, also its clips that are cut later; again for more."),
    ] = None,
    key_file: Annotated[str | None, typer.Option(metavar="FILE", help="Keys of clips, one a line.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be removed where, and change nothing.")
    ] = False,
    scratch: Scratch = None,
    scratch_bytes: ScratchBytes = None,
    as_json: AsJson = False,
) -> None:
    """Take clips out of every object that holds their media, for good; without options, finish what was begun."""
    from shardpipe.cli.output import write_json  # noqa: PLC0415  --help must not wait for pyarrow
    from shardpipe.config.models import CLIPS  # noqa: PLC0415
    from shardpipe.core.errors import ConfigError  # noqa: PLC0415
    from shardpipe.engine.upkeep.wish import Wish, read_keys  # noqa: PLC0415
    from shardpipe.executors.remove import remove_root  # noqa: PLC0415

    if dataset is not None and where is None:
        raise ConfigError("--dataset: it says whose rows --where sees; give --where too")
    wish = Wish(where, dataset or CLIPS, tuple(source or ()), read_keys(key_file) if key_file is not None else ())
    report = remove_root(root, wish, dry_run=dry_run, scratch=scratch_settings(scratch, scratch_bytes))
    if as_json:
        write_json(asdict(report))
    else:
        _write(report)
    if report.problems:
        raise typer.Exit(1)


def _write(report: "RemovalReport") -> None:
    from shardpipe.cli.output import write_line, write_table  # noqa: PLC0415

    would = "would be" if report.dry_run else "are"
    write_line(
        f"{report.num_new:,} clips and {report.num_new_sources:,} whole videos {would} new on the list of removed ones; "
        f"{report.num_keys:,} clips and {report.num_sources:,} videos {would} on it"
    )
    if report.datasets:
        header = ["dataset", "clips", "tars blanked", "shards rewritten"]
        rows = [
            [each.name, f"{each.num_clips:,}", f"{each.num_tars:,}", f"{each.num_shards:,}"] for each in report.datasets
        ]
        write_table(header, rows)
    else:
        write_line("no object holds any of them")
    if report.dry_run:
        write_line("nothing was changed (--dry-run)")
    _note("on the list, and not cut here so far", report.unknown)
    _note("of these units nothing is removed by the rule, since they have no rows yet", report.waiting)
    for problem in report.problems:
        print(f"not clean: {problem}", file=sys.stderr)  # noqa: T201  the log


def _note(what: str, names: tuple[str, ...]) -> None:
    if names:
        more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
        print(f"{what}: {', '.join(names[:SHOWN])}{more}", file=sys.stderr)  # noqa: T201  the log
