"""`shardpipe query ROOT SQL`: SQL over the folded rows."""

from typing import Annotated

import typer

from shardpipe.cli.arguments import AsJson, Root


def command(
    root: Root,
    sql: Annotated[
        str, typer.Argument(metavar="SQL", help='One SELECT; each Dataset is a table: "SELECT ... FROM train".')
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Run one SQL query with DuckDB; each Dataset of the root is a table of its folded rows, dropped clips too."""
    from shardpipe.cli.output import write_json, write_table  # noqa: PLC0415  --help must not wait for duckdb
    from shardpipe.engine.views.query import query  # noqa: PLC0415

    found = query(root, sql)
    if as_json:
        for row in found.to_pylist():
            write_json(row)
        return
    cells = [["" if value is None else str(value) for value in row.values()] for row in found.to_pylist()]
    write_table(found.column_names, cells, left=len(found.column_names))
