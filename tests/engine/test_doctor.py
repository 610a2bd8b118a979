"""What `doctor` finds, what `--fix` does about it, and what it leaves alone."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from support.emitted import emit_shards, make_train
from support.tiny_dataset import keys_of

from shardpipe.core.errors import ConfigError, StoreError
from shardpipe.engine.upkeep.doctor import Finding, examine, fix
from shardpipe.storage.crashing import RecordingStore
from shardpipe.storage.drivers import DEAD_AFTER_S, Driver, beat, beat_path
from shardpipe.storage.store import Store, Upload, open_store

TAR = "clips/shards/000000-0123456789ab.tar"
PROBE = f"_run/probe/{'0' * 32}/complete"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = open_store(str(tmp_path / "root"))
    make_train(store, keys_of(2, 3))
    emit_shards(store, "train")
    return store


class Bucket(RecordingStore):
    """With multipart uploads, and objects of any age."""

    def __init__(self, inner: Store, *uploads: Upload) -> None:
        super().__init__(inner)
        self.begun = list(uploads)
        self.ages_s: dict[str, float] = {}

    def uploads(self) -> Sequence[Upload]:
        return tuple(self.begun)

    def abort_upload(self, upload: Upload) -> None:
        self.begun.remove(upload)

    def age_s(self, path: str) -> float | None:
        return self.ages_s.get(path, 0.0 if self.size(path) is not None else None)


def told(store: Store, kind: str) -> list[Finding]:
    return [finding for finding in examine(store).findings if finding.kind == kind]


def mend(store: Store) -> list[Finding]:
    return [finding for finding in examine(store).findings if finding.fix and fix(store, finding)]


def test_all_else_is_looked_at_where_uploads_cannot_be_listed(store: Store) -> None:
    class Closed(Bucket):
        def uploads(self) -> Sequence[Upload]:
            raise StoreError("AccessDenied")

    path = Path(store.url) / "clips/shards/000000-0123456789ab.tar"
    path.write_bytes(b"dead")
    found = examine(Closed(store)).findings
    assert ["multipart uploads cannot be listed" in each.text for each in found if each.kind == "upload"] == [True]
    assert any(each.kind == "tar" for each in found)


def driver(own_id: str, up_s: float) -> Driver:
    return Driver(own_id, "node7", 1, "elsewhere", up_s)


def test_uploads_of_the_dead_are_aborted(store: Store) -> None:
    bucket = Bucket(store, Upload(TAR, "1", 5.0), Upload("train/shards/train-000000.tar", "2", 5.0))
    assert [finding.fix for finding in told(bucket, "upload")] == ["abort", "abort"]
    assert len(mend(bucket)) == 2
    assert bucket.begun == []


def test_uploads_that_a_living_driver_may_be_at_are_left(store: Store) -> None:
    young, old, unknown = Upload(TAR, "1", 300.0), Upload(TAR, "2", 500.0), Upload(TAR, "3", 5e8)
    bucket = Bucket(store, young, old, unknown)
    beat(bucket, driver("a", 400.0))
    mend(bucket)
    assert bucket.begun == [young, unknown]
    assert "a driver may be at it: node7" in told(bucket, "upload")[0].text
    bucket.ages_s[beat_path("a")] = DEAD_AFTER_S + 1
    assert {finding.kind for finding in mend(bucket)} == {"upload", "heartbeat"}
    assert bucket.begun == []
    assert not bucket.list("_run/drivers")


def test_uploads_of_others_are_left(store: Store) -> None:
    others = [Upload(path, "1", 1e6) for path in ("videos/a.mp4", "clips/x.tar", "other/index.parquet", "a.parquet")]
    bucket = Bucket(store, *others)
    mend(bucket)
    assert bucket.begun == others
    assert len(told(bucket, "upload")) == len(others)


@pytest.mark.parametrize(("age_s", "left"), [(5.0, True), (5000.0, False)])
def test_what_a_probe_left_goes_once_it_is_old(store: Store, age_s: float, *, left: bool) -> None:
    """A driver that starts just now has no heartbeat yet."""
    bucket = Bucket(store, Upload(PROBE, "1", age_s))
    for path in (PROBE, "_run/probe/rows/000000.json"):  # a pass may be called so
        bucket.replace(path, b"first")
        bucket.ages_s[path] = age_s
    beat(bucket, driver("a", 1.0))
    mend(bucket)
    assert bool(bucket.begun) is left
    assert (bucket.size(PROBE) is not None) is left
    bucket.delete(beat_path("a"))
    mend(bucket)
    assert not bucket.begun, "a driver that starts now would begin it anew"
    assert (bucket.size(PROBE) is not None) is left
    assert bucket.size("_run/probe/rows/000000.json") is not None


def test_a_driver_that_lives_again_keeps_its_heartbeat(store: Store) -> None:
    bucket = Bucket(store)
    beat(bucket, driver("a", 400.0))
    bucket.ages_s[beat_path("a")] = DEAD_AFTER_S + 1
    (dead,) = told(bucket, "heartbeat")
    bucket.ages_s[beat_path("a")] = 1.0
    assert not fix(bucket, dead)
    assert bucket.size(beat_path("a")) is not None


def test_strays_are_told_and_left(store: Store) -> None:
    paths = (
        "clips/notes.txt",
        "clips/rows/000009.parquet",
        "clips/shards/copy.tar",
        "train/shards/train-000099.tar",
        "train/emit/000099.parquet",
        "train/rows/x/000000.parquet",
    )
    for path in (*paths, "videos/a.mp4", "README.md"):
        store.create(path, b"x")
    mend(store)
    assert sorted(finding.path for finding in told(store, "stray")) == sorted(paths)


def test_tars_of_lost_races_are_deleted(store: Store) -> None:
    store.create(TAR, b"x")
    (found,) = told(store, "tar")
    assert (found.path, found.num_bytes, found.fix) == (TAR, 1, "delete")
    assert [finding.path for finding in mend(store)] == [TAR]
    assert store.size(TAR) is None


def test_half_made_passes_are_told(store: Store, tmp_path: Path) -> None:
    (found,) = told(store, "pass")
    assert found.path == "train"
    assert "2 of 2 units have rows, 1 of 1 planned shards are written, no index covers all of it" in found.text
    (tmp_path / "root/clips/rows/000001.parquet").unlink()
    clips, _ = told(store, "pass")
    assert clips.text.startswith("1 of 2 units have rows: `shardpipe run")
    (tmp_path / "root/clips/sources/0000.parquet").write_bytes(b"x")
    assert all("run `shardpipe verify" in finding.text for finding in told(store, "pass"))
    (tmp_path / "root/train/dataset.json").unlink()
    assert any("is no Dataset" in finding.text for finding in told(store, "pass"))


def test_scratch_of_the_dead_goes(store: Store, tmp_path: Path) -> None:
    dead = tmp_path / "root/.tmp/node-1-0123456789ab"
    dead.mkdir()
    (dead / "half.tar").write_bytes(b"12345")
    dead.with_name("node-1-0123456789ab.lock").touch()
    store.scratch()  # of this process, which lives
    (found,) = told(store, "scratch")
    assert (found.path, found.num_bytes) == (".tmp/node-1-0123456789ab", 5)
    assert mend(store) == [found]
    assert not dead.exists()
    assert len(list((tmp_path / "root/.tmp").iterdir())) == 2


def test_a_place_without_datasets_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "x.txt").touch()
    with pytest.raises(ConfigError, match="there is no Dataset here"):
        examine(open_store(str(tmp_path), read_only=True))
