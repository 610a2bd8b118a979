"""Committed tables a row group at a time, for those that are too large to have whole: the index of an emitted Dataset."""

from collections.abc import Iterable, Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from shardpipe.storage import rows


def row_groups(schema: pa.Schema, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows of these tables, cut as `encode_arrow` cuts them: one group without rows if there are none."""
    held, num_held, is_cut = [schema.empty_table()], 0, False
    for table in tables:
        held.append(table)
        num_held += table.num_rows
        while num_held >= rows.ROW_GROUP:
            whole = pa.concat_tables(held)
            yield whole.slice(0, rows.ROW_GROUP)
            num_held -= rows.ROW_GROUP
            held, is_cut = [whole.slice(rows.ROW_GROUP)], True
    if num_held or not is_cut:
        yield pa.concat_tables(held)


def read_groups(file: BinaryIO, where: str) -> Iterator[pa.Table]:
    """Those that a table has; IntegrityError, naming `where`, if it is damaged."""
    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as opened:
            for i in range(opened.num_row_groups):
                yield opened.read_row_group(i, use_threads=False).replace_schema_metadata(None)
    except rows.DAMAGED as error:
        raise rows.damaged(where, str(error)) from error
