"""A DuckDB for text that strangers wrote: it sees nothing but what is registered with it.

DuckDB is imported with the first question, so that a config without rules does not wait for it.
"""

import threading
from functools import cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    import duckdb

_LOCK = threading.Lock()  # a DuckDB connection serves one thread at a time


class SqlError(Exception):
    """What DuckDB has against a statement: the first line, as the rest points into text that the user never wrote."""


def locked_connection() -> "duckdb.DuckDBPyConnection":
    """A connection of its own: one thread, UTC, no files, extensions or settings."""
    import duckdb  # noqa: PLC0415

    connection = duckdb.connect(config={"threads": 1})
    for setting in (
        "TimeZone='UTC'",
        "autoinstall_known_extensions=false",
        "autoload_known_extensions=false",
        "python_enable_replacements=false",
        "enable_external_access=false",
        "lock_configuration=true",
    ):
        connection.execute(f"SET {setting}")
    return connection


def ask(sql: str, *values: str) -> list[tuple[Any, ...]]:
    """All rows of a query without a table; raises SqlError."""
    import duckdb  # noqa: PLC0415

    with _LOCK:
        try:
            return _connection().execute(sql, list(values)).fetchall()
        except duckdb.Error as error:
            raise SqlError(_first_line(error)) from None


def evaluate(expression: str, table: pa.Table) -> tuple[str, list[Any]]:
    """The DuckDB type and the values of a vetted expression over the rows of `table`; raises SqlError."""
    import duckdb  # noqa: PLC0415

    with _LOCK:
        connection = _connection()
        connection.register("clips", table)
        try:
            result = connection.execute(f"SELECT {expression} FROM clips")  # noqa: S608  parsed and vetted before
            kind = str(result.description[0][1]) if result.description else ""
            return kind, [value for (value,) in result.fetchall()]
        except duckdb.Error as error:
            raise SqlError(_first_line(error)) from None
        finally:
            connection.unregister("clips")


def has_comment(text: str) -> bool:
    """Whether DuckDB's lexer sees a comment in `text`."""
    import duckdb  # noqa: PLC0415

    return any(kind == duckdb.token_type.comment for _, kind in duckdb.tokenize(text))


@cache
def _connection() -> "duckdb.DuckDBPyConnection":
    """One a process."""
    return locked_connection()


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
