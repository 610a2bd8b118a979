"""S3's part: what the store does with refusals, conflicts and lost replies, on a bucket that is played by a fake."""

from pathlib import Path
from typing import Any

import pytest

from shardpipe.core.errors import IntegrityError, StoreError
from shardpipe.storage import remote
from shardpipe.storage.remote import RemoteStore, create_s3


class FakeS3:
    """As much of s3fs as the store calls. `replies` are raised by the next PUTs; `(True, error)` takes effect first."""

    protocol = ("s3", "s3a")

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.replies: list[tuple[bool, Exception]] = []
        self.puts = 0
        self.put_options: dict[str, int] = {}

    def split_path(self, full: str) -> tuple[str, str, None]:
        bucket, _, key = full.partition("/")
        return bucket, key, None

    def call_s3(self, name: str, **args: Any) -> None:
        assert name == "put_object"
        assert args["IfNoneMatch"] == "*"
        self.puts += 1
        full = f"{args['Bucket']}/{args['Key']}"
        took_effect, error = self.replies.pop(0) if self.replies else (True, None)
        if took_effect:
            if full in self.objects:
                raise OSError(22, "At least one of the pre-conditions you specified did not hold")
            self.objects[full] = args["Body"]
        if error:
            raise error

    def cat_file(self, full: str, start: int | None = None, end: int | None = None) -> bytes:
        if full not in self.objects:
            raise FileNotFoundError(full)
        if start is not None and start >= len(self.objects[full]):
            raise OSError(22, "The requested range is not satisfiable")
        return self.objects[full][start:end]

    def info(self, full: str) -> dict[str, Any]:
        if full not in self.objects:
            raise FileNotFoundError(full)
        return {"size": len(self.objects[full]), "type": "file"}

    def put_file(self, local: str, full: str, **options: int) -> None:
        self.put_options = options
        data = Path(local).read_bytes()
        self.objects[full] = data[:-1] if b"lossy" in data else data


@pytest.fixture
def s3() -> FakeS3:
    return FakeS3()


@pytest.fixture
def store(s3: FakeS3, monkeypatch: pytest.MonkeyPatch) -> RemoteStore:
    monkeypatch.setattr(remote.time, "sleep", lambda _: None)
    return RemoteStore(s3, "bucket/run", url="s3://bucket/run", create=create_s3)


def test_create_is_one_conditional_put(s3: FakeS3, store: RemoteStore) -> None:
    assert store.create("a", b"mine") == b"mine"
    assert s3.objects == {"bucket/run/a": b"mine"}
    assert store.create("a", b"late") == b"mine"
    assert s3.puts == 2


def test_a_lost_reply_is_no_loss(s3: FakeS3, store: RemoteStore) -> None:
    s3.replies = [(True, TimeoutError("no reply"))]
    assert store.create("a", b"mine") == b"mine"
    assert s3.puts == 1


def test_a_conflict_is_tried_again(s3: FakeS3, store: RemoteStore) -> None:
    s3.replies = [(False, OSError(5, "ConditionalRequestConflict"))] * 3
    assert store.create("a", b"mine") == b"mine"
    assert s3.puts == 4


def test_a_lasting_error_ends(s3: FakeS3, store: RemoteStore) -> None:
    s3.replies = [(False, OSError(5, "SlowDown"))] * 100
    with pytest.raises(StoreError, match=r"cannot write a in s3://bucket/run: .*SlowDown.*nothing is there"):
        store.create("a", b"mine")
    assert s3.puts == remote.CREATE_TRIES


@pytest.mark.parametrize("error", [PermissionError("denied"), FileNotFoundError("no such bucket")])
def test_a_refusal_ends_at_once(s3: FakeS3, store: RemoteStore, error: Exception) -> None:
    s3.replies = [(False, error)] * 100
    with pytest.raises(StoreError, match="cannot write a"):
        store.create("a", b"mine")
    assert s3.puts == 1


def test_a_range_beyond_the_end(s3: FakeS3, store: RemoteStore) -> None:
    s3.objects["bucket/run/a"] = b"0123456789"
    assert store.read_range("a", 2, 3) == b"234"
    for start, length in ((8, 3), (10, 1), (99, 1)):
        with pytest.raises(IntegrityError, match="ends too early"):
            store.read_range("a", start, length)


def test_put_file_checks_the_size(s3: FakeS3, store: RemoteStore, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"whole")
    store.put_file("a", file)
    assert s3.put_options == {"chunksize": 16 << 20, "max_concurrency": 4}
    assert not file.exists()
    file.write_bytes(b"lossy")
    with pytest.raises(IntegrityError, match="b in s3://bucket/run has 4 bytes"):
        store.put_file("b", file)
    assert file.exists()
