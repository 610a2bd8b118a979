"""The media of a pass's clips on a remote store: read ahead together, each with its own error."""

import random
from pathlib import Path

import pytest
from support.fakes import ONE_FRAME
from support.tiny_dataset import keys_of, make_clips

from shardpipe.core.errors import IntegrityError
from shardpipe.engine.passes.clipmedia import MediaSource
from shardpipe.storage.crashing import RecordingStore
from shardpipe.storage.metered import MeteredStore
from shardpipe.storage.store import Store


def _payload(key: str) -> bytes:
    return random.Random(key).randbytes(20_000)


def test_clips_are_read_ahead_together(store: Store) -> None:
    rows = make_clips(store, keys_of(2, 30), payload=_payload).next_view().fold("000000").rows
    recording = RecordingStore(store)
    source = MediaSource(MeteredStore(recording), num_stills=0)
    fetches = [source.of(row, [ONE_FRAME]).ask() for row in rows]
    assert not recording.operations
    source.go()
    assert [fetch().data for fetch in fetches] == [_payload(row["key"]) for row in rows]
    source.close()
    assert len(recording.operations) < 4
    assert {each.name for each in recording.operations} == {"read_range"}


def test_a_clip_beyond_the_end_of_its_tar_is_an_error_of_its_own(store: Store, tmp_path: Path) -> None:
    rows = make_clips(store, keys_of(1, 10), payload=_payload).next_view().fold("000000").rows
    tar = tmp_path / "root" / rows[0]["shard"]
    tar.write_bytes(tar.read_bytes()[: rows[8]["offset"] + 10])
    source = MediaSource(MeteredStore(RecordingStore(store)), num_stills=0)
    fetches = [source.of(row, [ONE_FRAME]).ask() for row in rows]
    source.go()
    assert [fetch().data for fetch in fetches[:8]] == [_payload(row["key"]) for row in rows[:8]]
    for fetch in fetches[8:]:
        with pytest.raises(IntegrityError, match="ends too early"):
            fetch()
    tar.unlink()
    gone = source.of(rows[0], [ONE_FRAME]).ask()
    with pytest.raises(FileNotFoundError):
        gone()
    source.close()
