"""Checks of an index against the records that it must hold, a row group at a time: neither is ever in memory whole."""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import takewhile, zip_longest
from typing import Any, BinaryIO, cast

import pyarrow as pa

from shardpipe.engine.verifying.findings import Findings, is_of_this_arrow, unknown_writer
from shardpipe.storage.blanks import ObjectStream
from shardpipe.storage.facts import read_end
from shardpipe.storage.rowgroups import read_groups, row_groups
from shardpipe.storage.rows import decode_facts, write_arrow, writers

BUFFER = 1 << 20


def check_index(
    findings: Findings,
    path: str,
    schema: pa.Schema,
    records: Callable[[], Iterator[pa.Table]],
    facts: Mapping[str, Any],
) -> None:
    """Whether an index says `facts` of itself and has the rows of `records` (which gives them anew each time), in the bytes that
    they are stored in.
    """
    end = read_end(findings.store, path, findings.objects[path])
    said = decode_facts(end, path)
    if said != facts:
        findings.add(path, "was made from other plans")
    if text := unknown_writer(end):
        findings.add(path, text)
        return
    is_ours = is_of_this_arrow(end)
    if is_ours:
        sink = _Compared(_opened(findings, path))
        groups = takewhile(lambda _: sink.is_same, row_groups(schema, records()))
        write_arrow(cast("BinaryIO", sink), schema, groups, said, arrow=writers(end)[0])
        if sink.is_all:
            return
    if not _has_rows(read_groups(_opened(findings, path), path), row_groups(schema, records())):
        findings.add(path, "does not hold the rows of the records")
    elif is_ours:
        findings.add(path, "is damaged: its rows are not stored in these bytes")


def _has_rows(there: Iterable[pa.Table], wanted: Iterable[pa.Table]) -> bool:
    return all(has is not None and wants is not None and has.equals(wants) for has, wants in zip_longest(there, wanted))


def _opened(findings: Findings, path: str) -> BinaryIO:
    stream = ObjectStream(findings.store, path, findings.objects[path])
    return cast("BinaryIO", io.BufferedReader(stream, BUFFER))


class _Compared(io.RawIOBase):
    """A file that keeps nothing of what is written: whether it is the same as another has."""

    def __init__(self, other: BinaryIO) -> None:
        self._other = other
        self.is_same = True

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401  any buffer
        """As io says."""
        view = memoryview(data).cast("B")
        self.is_same = self.is_same and self._other.read(len(view)) == view
        return len(view)

    @property
    def is_all(self) -> bool:
        """Whether all was the same, and the other has nothing more."""
        return self.is_same and not self._other.read(1)
