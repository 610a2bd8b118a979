import pytest
from support.tiny_dataset import Row, keys_of, make_clips, make_pass

from shardpipe.core.columns import float32
from shardpipe.core.errors import ConfigError
from shardpipe.engine.emission.emit import Emitter
from shardpipe.engine.emission.emitplan import make_plan
from shardpipe.engine.emission.index import finish
from shardpipe.engine.emission.plansettings import PlanSettings
from shardpipe.engine.views.query import mentioned, query
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.store import open_store


def score(row: Row) -> Row:
    number = int(row["key"][-8:])
    return {"aes": float(number), "dropped_by": "aes >= 1" if number < 1 else None}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    tmp_path = tmp_path_factory.mktemp("root")
    store = open_store(str(tmp_path))
    make_clips(store, {**keys_of(2, 4), "000002": ["bad_0"]})
    make_pass(store, "score-1", columns={"aes": float32}, score=score)
    make_pass(store, "train", over="score-1", columns={}, score=lambda _: {}, emit="shards")
    plan = make_plan(Dataset.open(store, "train"), PlanSettings(shard_bytes=1 << 20), finished=True)
    Emitter(store, "train").emit(*plan.shard_units)
    finish(store, "train")
    return str(tmp_path)


def test_each_dataset_is_a_table_of_its_folded_rows(root: str) -> None:
    assert query(root, "SELECT count(*) AS n FROM clips").to_pylist() == [{"n": 9}]
    sql = 'SELECT dropped_by, count(*) AS n, max(aes) AS best FROM "score-1" GROUP BY ALL ORDER BY ALL'
    assert query(root, sql).to_pylist() == [
        {"dropped_by": "aes >= 1", "n": 2, "best": 0.0},
        {"dropped_by": "error: cut", "n": 1, "best": None},
        {"dropped_by": None, "n": 6, "best": 3.0},
    ]
    assert query(root, "SELECT c.key FROM Clips c JOIN train t USING (key) WHERE t.kept AND t.aes = 3").num_rows == 2
    assert query(root, "WITH clips AS (SELECT 1 AS x) SELECT * FROM clips").to_pylist() == [{"x": 1}]


def test_kept_clips_of_an_emitted_dataset_are_in_its_own_shards(root: str) -> None:
    shards = query(root, "SELECT DISTINCT shard FROM train WHERE kept").to_pylist()
    assert shards == [{"shard": "train/shards/train-000000.tar"}]


def test_describe(root: str) -> None:
    described = {row["column_name"]: row["column_type"] for row in query(root, "DESCRIBE train").to_pylist()}
    assert described["aes"] == "FLOAT"
    assert list(described)[-7:] == ["dropped_by", "error", "shard", "offset", "size", "xxh128", "unit"]


def test_columns_of_both_sides_of_a_join(root: str) -> None:
    sql = "SELECT a.key, b.key, 1 AS key_1, a.* FROM clips a JOIN train b USING (key)"
    assert query(root, sql).column_names[:5] == ["key", "key_2", "key_1", "key_3", "path"]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        (
            "SELECT * FROM nowhere",
            r'nowhere does not exist!\nThe tables are the Datasets of .*: clips, "score-1", train',
        ),
        ("SELECT aess FROM train", 'aess.*\nCandidate bindings: "aes"'),
        ("SELEC 1", "syntax error"),
        ("", "one SELECT"),
        ("SELECT 1; SELECT 2", "one SELECT"),
        ("COPY train TO 'x.parquet'", "one SELECT"),
        ("CREATE TABLE x AS SELECT 1", "one SELECT"),
        ("SET threads = 4", "one SELECT"),
        ("SELECT * FROM read_text('/etc/hostname')", "disabled by configuration"),
        ("SELECT * FROM 'clips/rows/000000.parquet'", "disabled by configuration"),
        ("SELECT getenv('HOME')", "getenv"),
    ],
)
def test_what_is_refused(root: str, sql: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        query(root, sql)


def test_mentioned_names() -> None:
    assert mentioned('SELECT "my-pass".key FROM "my-pass" JOIN Train') == [
        "select",
        "my-pass",
        "key",
        "from",
        "join",
        "train",
    ]
