"""Single bits of a committed table: none of them may change unseen, whoever wrote it."""

import pyarrow as pa

from shardpipe.engine.verifying.findings import damage_of
from shardpipe.storage.removed import Entry, encode_batch
from shardpipe.storage.rows import decode_table, encode_arrow

DATA = encode_batch([Entry("a_00000000", "v/a.mp4")], 0)
OTHER_ARROW = f"{pa.cpp_version[:-1]}{(int(pa.cpp_version[-1]) + 1) % 10}"


def test_every_flipped_bit_is_found() -> None:
    missed = []
    for at in range(len(DATA)):
        for bit in range(8):
            flipped = DATA[:at] + bytes([DATA[at] ^ 1 << bit]) + DATA[at + 1 :]
            if damage_of("removed.parquet", flipped) is None:
                missed.append((at, bit))
    assert not missed


def test_what_another_arrow_wrote_is_whole_and_says_so_in_both_places() -> None:
    table, facts = decode_table(DATA)
    theirs = encode_arrow(table, facts, arrow=OTHER_ARROW)
    assert "its facts say" in str(damage_of("removed.parquet", theirs))
    head, _, tail = theirs.rpartition(pa.cpp_version.encode())
    assert damage_of("removed.parquet", head + OTHER_ARROW.encode() + tail) is None


def test_what_was_written_before_facts_said_by_whom_is_whole() -> None:
    table, facts = decode_table(DATA)
    before = encode_arrow(table, facts, arrow=None)
    assert before != DATA
    assert damage_of("removed.parquet", before) is None
