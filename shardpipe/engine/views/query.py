"""SQL over a root: each Dataset is a table of its folded rows, dropped clips too. Nothing can be written or fetched.

A table has the data columns, then `kept dropped_by error`, then `shard offset size xxh128` (where the mp4 lies, relative to the
root: in the Dataset's own shards once they are emitted) and `unit`. Units without rows yet are left out.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import count

import duckdb
import pyarrow as pa

from shardpipe.core.clip import LOCATION, STATE
from shardpipe.core.columns import Columns, string
from shardpipe.core.errors import ConfigError, IncompleteError
from shardpipe.engine.sandbox import locked_connection
from shardpipe.storage.commit import RowsLog
from shardpipe.storage.dataset import Dataset, Row
from shardpipe.storage.removed import REMOVED
from shardpipe.storage.rows import arrow_schema, arrow_type, decode_rows
from shardpipe.storage.store import Store, open_store

WORD = re.compile(r'"((?:[^"]|"")+)"|([A-Za-z_][A-Za-z0-9_]*)')
NAME = re.compile(r"[a-z0-9_-]+\Z")
ANSWERS = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


def query(root: str, sql: str) -> pa.Table:
    """The answer to one SELECT; ConfigError where DuckDB refuses it, with its reason."""
    store = open_store(root, read_only=True)
    connection = locked_connection()
    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type not in ANSWERS:
            raise ConfigError(f"{sql!r}: give one SELECT (or DESCRIBE, SUMMARIZE, EXPLAIN); nothing else is run")
        tables = [name for name in mentioned(sql) if store.size(f"{name}/dataset.json") is not None]
        for name in tables:
            connection.register(name, folded_table(Dataset.open(store, name)))
        table = connection.sql(sql).to_arrow_table()
        return table.rename_columns(_distinct(table.column_names))
    except duckdb.CatalogException as error:
        reason = _plain(error).split("\nDid you mean", 1)[0]  # it names DuckDB's own tables
        names = ", ".join(f'"{name}"' if "-" in name else name for name in Dataset.names(store))
        raise ConfigError(f"{reason}\nThe tables are the Datasets of {root}: {names}") from None
    except duckdb.Error as error:
        raise ConfigError(_plain(error)) from None
    finally:
        connection.close()


def mentioned(sql: str) -> list[str]:
    """The words of a statement that may be names of Datasets, each once."""
    words = ((quoted or bare).lower() for quoted, bare in WORD.findall(sql))
    return [word for word in dict.fromkeys(words) if NAME.match(word)]


def folded_table(dataset: Dataset) -> pa.Table:
    """All folded rows of a Dataset so far, those of its own pass included."""
    view = dataset.pass_view()
    columns: Columns = {**view.columns(), **STATE, **LOCATION, "unit": string}
    schema = arrow_schema(columns)
    emitted = emitted_places(dataset)
    tables = [schema.empty_table()]
    for unit in view.units():
        try:
            fold = view.fold(unit)
        except IncompleteError:
            continue
        rows = [{**row, **_place(row, emitted), "unit": unit} for row in fold.rows]
        arrays = [pa.array([row[name] for row in rows], arrow_type(kind)) for name, kind in columns.items()]
        tables.append(pa.table(arrays, schema=schema))
    return pa.concat_tables(tables)


def _place(row: Row, emitted: Mapping[str, Row]) -> Row:
    """What to say of where a clip lies, other than its row: nothing of a removed one, whose shard may not be rewritten yet."""
    return {} if row["dropped_by"] == REMOVED else emitted.get(row["key"], {})


def emitted_places(dataset: Dataset) -> dict[str, Row]:
    """Where the clips lie that are in the Dataset's own shards, by key."""
    store, name = dataset.store, dataset.name
    found = {}
    for path in RowsLog(store, name, folder="emit").done().values():
        for row in _places(store, path):
            found[row["key"]] = {**{place: row[place] for place in LOCATION}, "shard": f"{name}/{row['shard']}"}
    return found


def _places(store: Store, path: str) -> Iterator[Row]:
    table, _ = decode_rows(store.read(path), f"{store.url}/{path}", columns={"key": string, **LOCATION})
    yield from table.select(["key", *LOCATION]).to_pylist()


def _distinct(names: list[str]) -> list[str]:
    """`names`, with _1, _2 at those that were there before: a join has columns of both sides."""
    found: dict[str, None] = {}
    for name in names:
        free = (new for n in count(1) if (new := f"{name}_{n}") not in names and new not in found)
        found[next(free) if name in found else name] = None
    return list(found)


def _plain(error: duckdb.Error) -> str:
    """DuckDB's message without the marks under the statement."""
    return str(error).strip().split("\n\nLINE ", 1)[0]
