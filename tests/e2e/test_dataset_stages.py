"""Passes whose stages look through the whole Dataset: what waits, what is made again, and what never changes."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.fakes import CALLS
from support.runs import calls, rows_of, run_inline, snapshot
from support.said import Said, first_of_text, passes_config
from support.tiny_dataset import commit_clips, fake_mp4, keys_of, make_clips

from shardpipe.cli.plan import show_plan
from shardpipe.cli.tables import write_status
from shardpipe.core.errors import ConfigError, IncompleteError
from shardpipe.core.report import RunReport
from shardpipe.engine.sources.cutplan import PART_COLUMNS
from shardpipe.engine.verifying.verify import verify
from shardpipe.engine.views.report import status
from shardpipe.executors import retry as retrying
from shardpipe.executors.inline import InlineExecutor
from shardpipe.executors.plan import plan_config
from shardpipe.executors.retry import retry_root
from shardpipe.executors.run import run_config
from shardpipe.stages.text_dup import TextDup
from shardpipe.storage.crashing import HookedStore
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.rows import decode_rows, decode_table, encode_rows, encode_table, table_columns
from shardpipe.storage.store import Store, open_store

UNITS = keys_of(4, 3)
LATE = ["v4_00000000", "v4_00000001"]
TEXTS = {key: "abc"[(unit + clip) % 3] for unit, keys in enumerate(UNITS.values()) for clip, key in enumerate(keys)}
TEXTS |= {"v1_00000002": "new", "v3_00000001": "new", "v2_00000001": None, LATE[0]: "b", LATE[1]: "new"}
FIRST_NEW = "v1_00000002"
DUP = {"name": "dup", "from": "score", "stages": [TextDup()]}


def score(*fails: str) -> dict[str, Any]:
    return {"name": "score", "stages": [Said(texts=TEXTS, fails=fails)], "max_failed": 1.0}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_clips(open_store(str(tmp_path / "root")), UNITS)
    return tmp_path / "root"


@pytest.fixture(autouse=True)
def _stages_and_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages of tests have no entry point, and processes cost time."""
    types = {"said": Said, "text_dup": TextDup}
    monkeypatch.setattr(retrying, "stage_class", types.__getitem__)
    monkeypatch.setattr(retrying, "executor_for", lambda _, store, **__: InlineExecutor(store))
    monkeypatch.delenv("FAKE_HEALED", raising=False)


def run(root: Path, *passes: Mapping[str, Any], store: Store | None = None, **options: Any) -> RunReport:
    CALLS.clear()
    return run_inline(passes_config(root, *passes), store, **options)


def found(root: Path, name: str = "dup") -> dict[str, tuple[str | None, int | None]]:
    rows = rows_of(open_store(str(root)), name)
    return {key: (row["text_dup"], row["text_dup_count"]) for key, row in rows.items() if row["kept"]}


def new_rows(root: Path, before: Mapping[str, bytes], name: str = "dup") -> list[str]:
    """The rows objects that a pass has beside those of `before`, which are as they were."""
    after = snapshot(open_store(str(root)))
    assert {path: after[path] for path in before} == before
    return [path.removeprefix(f"{name}/rows/") for path in after.keys() - before.keys() if path.startswith(f"{name}/")]


def test_new_sources_never_change_old_rows(root: Path) -> None:
    assert not run(root, score(), DUP).pending
    assert found(root) == first_of_text(UNITS, TEXTS)
    store = open_store(str(root))
    before = snapshot(store)
    late = {"url": "videos/late.mp4", "unit": "000004", "part": 0, "cost": 1.0}
    store.create("clips/sources/0001.parquet", encode_table(PART_COLUMNS, [late], {"batch": 1}))
    commit_clips(store, Dataset.open(store, "clips").info, "000004", LATE, payload=fake_mp4, values={})
    assert not run(root, score(), DUP).pending
    assert new_rows(root, before) == ["000004.parquet"]
    assert found(root) == first_of_text({**UNITS, "000004": LATE}, TEXTS)


def test_a_unit_waits_for_those_before_it(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = open_store(str(root))
    run(root, score())
    away = store.read("score/rows/000001.parquet")
    store.delete("score/rows/000001.parquet")
    report = run(root, score(), DUP, only="dup")
    assert list(store.list("dup/rows")) == ["dup/rows/000000.parquet"]
    why = "unit 000001 is not there, and its stages look through all units up to a clip's own"
    assert report.pending == {"dup": f"3 units were left out, or wait for their input: {why}"}
    (planned,) = plan_config(passes_config(root, score(), DUP), only="dup").phases
    assert (planned.gap, planned.num_units, planned.num_done) == ("000001", 4, 1)
    told = status(store, only=["dup"]).passes[-1]
    assert (told.gap, told.num_units_done, told.complete) == ("000001", 1, False)
    write_status(status(store), as_json=False)
    show_plan(passes_config(root, score(), DUP), as_json=False)
    assert capsys.readouterr().out.count("\ndup: waits for unit 000001 of its input: its stages look through all") == 2
    store.create("score/rows/000001.parquet", away)
    assert not run(root, score(), DUP).pending
    assert status(store, only=["dup"]).passes[-1].gap is None
    shutil.copytree(root / "clips", tmp_path / "at once" / "clips")
    run(tmp_path / "at once", score(), DUP)
    assert snapshot(open_store(str(tmp_path / "at once"))) == snapshot(store)


def test_with_limit_and_partial_the_first_units_are_done(root: Path) -> None:
    store = open_store(str(root))
    assert run(root, score(), DUP, limit=2).pending
    assert list(store.list("dup/rows")) == ["dup/rows/000000.parquet", "dup/rows/000001.parquet"]
    before = snapshot(store)
    strict = {"name": "score", "stages": [Said(texts=TEXTS, fails=("v3_00000000",), on_error="fail")]}
    assert not run(root, score(), DUP).pending
    assert sorted(new_rows(root, before)) == ["000002.parquet", "000003.parquet"]
    other = open_store(str(root.parent / "other"))
    make_clips(other, UNITS)
    report = run(root.parent / "other", strict, DUP, partial=True)
    assert list(report.failed_units) == ["score/000003"]
    assert "unit 000003 is not there" in report.pending["dup"]
    assert len(other.list("dup/rows")) == 3


def test_what_a_retry_changed_is_looked_through_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(root))
    dup, late = {**DUP, "unit_clips": 2}, {"name": "late", "from": "dup"}
    assert not run(root, score(FIRST_NEW), dup, late).pending
    assert found(root)["v3_00000001"] == (None, 0)
    before = snapshot(store)
    monkeypatch.setenv("FAKE_HEALED", "1")
    assert retry_root(str(root)).passes == ("score",)
    told = {each.name: each.num_units_done for each in status(store).passes}
    assert told == {"clips": 4, "score": 4, "dup": 1, "late": 1}
    with pytest.raises(IncompleteError, match="looked back at units that have other rows now: unit 000002-00 is to do"):
        Dataset.open(store, "dup").next_view().fold("000002")
    report = run(root, score(FIRST_NEW), dup, late, only="late")
    assert not report.failed_units
    assert "late" in report.pending
    assert any("000003" in str(each) and "made from other rows" in str(each) for each in verify(str(root)).problems)
    assert not run(root, score(FIRST_NEW), dup, late).pending
    assert sorted(new_rows(root, before)) == [f"00000{unit}-0{part}.1.parquet" for unit in (1, 2, 3) for part in (0, 1)]
    assert found(root) == first_of_text(UNITS, TEXTS)
    assert verify(str(root)).problems == ()
    assert new_rows(root, snapshot(store)) == []


def test_a_retry_of_its_own_keeps_what_still_holds(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pass has another stage, which failed on a clip: of the others, what depends on them all is found again if need be."""
    store = open_store(str(root))
    failed = UNITS["000003"][0]
    dup = {
        **DUP,
        "stages": [TextDup(), Said(fails=(failed,))],
        "rename": {"text": "own", "aes": "own_aes"},
        "max_failed": 1.0,
    }
    assert not run(root, score(FIRST_NEW), dup).pending
    monkeypatch.setenv("FAKE_HEALED", "1")
    CALLS.clear()
    assert retry_root(str(root)).passes == ("score", "dup")
    made = decode_rows(store.read("dup/rows/000003.1.parquet"))[0].to_pylist()
    expected = list(first_of_text(UNITS, TEXTS).values())[-3:]
    assert [(row["text_dup"], row["text_dup_count"]) for row in made] == expected
    assert len(calls("said")) == 1 + 3
    assert not run(root, score(FIRST_NEW), dup).pending
    assert found(root) == first_of_text(UNITS, TEXTS)
    monkeypatch.delenv("FAKE_HEALED")
    other = {**dup, "name": "other"}
    assert not run(root, score(FIRST_NEW), dup, other).pending
    CALLS.clear()
    assert retry_root(str(root)).passes == ("other",)  # nothing has changed but what failed
    assert calls("said") == [failed]


def test_rows_of_the_same_name_and_other_bytes_are_found(root: Path) -> None:
    """The input was removed and made again: unit 2 is what it was, but not unit 1, which it looked back at."""
    store = open_store(str(root))
    assert not run(root, score(), DUP).pending
    path = "score/rows/000001.parquet"
    table, meta = decode_rows(store.read(path))
    rows = [{**row, "text": "odd" if row["key"] == FIRST_NEW else row["text"]} for row in table.to_pylist()]
    store.delete(path)
    store.create(path, encode_rows(table_columns(table.schema), rows, meta))
    assert {each.path for each in verify(str(root)).problems} == {f"dup/rows/00000{unit}.parquet" for unit in (1, 2, 3)}
    before = snapshot(store)
    assert not run(root, score(), DUP).pending
    assert sorted(new_rows(root, before)) == ["000001.1.parquet", "000002.1.parquet", "000003.1.parquet"]
    assert found(root) == first_of_text(UNITS, {**TEXTS, FIRST_NEW: "odd"})


def test_a_retry_that_races_with_the_pass(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows are of what it looked through, and count no more: the next run makes them anew."""
    store = open_store(str(root))
    run(root, score(FIRST_NEW))

    def retry(_: int, name: str, path: str) -> None:
        if (name, path) == ("create", "dup/rows/000000.parquet"):
            monkeypatch.setenv("FAKE_HEALED", "1")
            assert retry_root(str(root)).passes == ("score",)

    run(root, score(FIRST_NEW), DUP, store=HookedStore(store, retry))
    assert not run(root, score(FIRST_NEW), DUP).pending
    assert found(root) == first_of_text(UNITS, TEXTS)
    assert verify(str(root)).problems == ()


def test_rows_of_a_zombie_are_not_taken_for_done(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that looked through the Dataset before a retry commits just before ours, under the same name."""
    store = open_store(str(root))
    run(root, score(FIRST_NEW), DUP)
    old, meta = decode_rows(store.read("dup/rows/000003.parquet"))
    zombie = encode_rows(table_columns(old.schema), old.to_pylist(), replace(meta, generation=1))
    monkeypatch.setenv("FAKE_HEALED", "1")
    retry_root(str(root))

    def commit(_: int, name: str, path: str) -> None:
        if (name, path) == ("create", "dup/rows/000003.1.parquet"):
            store.create(path, zombie)

    report = run(root, score(FIRST_NEW), DUP, store=HookedStore(store, commit))
    assert list(report.failed_units) == ["dup/000003"]
    assert "looked back at units that have other rows now. Run again" in report.failed_units["dup/000003"]
    assert not run(root, score(FIRST_NEW), DUP).pending
    assert found(root) == first_of_text(UNITS, TEXTS)


def test_a_damaged_unit_stops_those_after_it_alone(root: Path) -> None:
    store = open_store(str(root))
    run(root, score())
    data = store.read("score/rows/000002.parquet")
    store.delete("score/rows/000002.parquet")
    store.create("score/rows/000002.parquet", data[:-20])
    report = run(root, score(), DUP, only="dup")
    assert list(report.failed_units) == ["dup/000002", "dup/000003"]
    assert "looks through all units up to it: 000002 cannot be read" in report.failed_units["dup/000003"]
    assert len(store.list("dup/rows")) == 2


def test_two_worker_processes_make_the_same(root: Path) -> None:
    shutil.copytree(root, root.parent / "inline")
    passes = (score(), {**DUP, "unit_clips": 1})
    run_config(passes_config(root, *passes, type="local", workers=2))
    run(root.parent / "inline", *passes)
    assert snapshot(open_store(str(root))) == snapshot(open_store(str(root.parent / "inline")))
    assert found(root) == first_of_text(UNITS, TEXTS)


def test_one_driver_overtakes_the_other(root: Path, tmp_path: Path) -> None:
    run(root, score())
    counted = HookedStore(open_store(str(shutil.copytree(root, tmp_path / "count"))), lambda *_: None)
    run(tmp_path / "count", score(), DUP, store=counted)
    clean = snapshot(open_store(str(tmp_path / "count")))
    for n in range(0, len(counted.operations), 4):
        at = tmp_path / str(n)
        shutil.copytree(root, at)

        def other(i: int, _: str, __: str, at: Path = at, n: int = n) -> None:
            if i == n:
                run(at, score(), DUP)

        report = run(at, score(), DUP, store=HookedStore(open_store(str(at)), other))
        assert not report.pending
        assert not report.failed_units
        assert snapshot(open_store(str(at))) == clean


def test_shards_with_one_clip_of_each_text(root: Path) -> None:
    train = {
        **DUP,
        "name": "train",
        "emit": {"plan_units": 2},
        "keep": ["text_dup IS NULL", "key <> 'v0_00000000'"],
        "shard_bytes": 3000,
    }
    assert not run(root, score(), train).pending
    expected = first_of_text({unit: [k for k in keys if k != "v0_00000000"] for unit, keys in UNITS.items()}, TEXTS)
    index = decode_table(open_store(str(root)).read("train/index.parquet"))[0].to_pylist()
    assert {row["key"] for row in index} == {key for key, (first, _) in expected.items() if first is None}
    assert verify(str(root)).problems == ()
    again = {**DUP, "name": "again", "from": "train", "stages": [TextDup(into="twin")]}
    assert not run(root, score(), train, again).pending
    rows = rows_of(open_store(str(root)), "again")
    assert [row["twin"] for row in rows.values()] == [None] * len(index)


def test_results_are_of_the_clips_that_were_there(root: Path) -> None:
    """Another rule makes another first clip, so nothing is reused, and the columns of two such passes are two."""
    fewer = {**DUP, "name": "fewer", "keep": ["key <> 'v0_00000000'"], "reuse": ["dup"]}
    run(root, score(), DUP)
    assert not run(root, score(), DUP, fewer).pending
    counted = {unit: [key for key in keys if key != "v0_00000000"] for unit, keys in UNITS.items()}
    assert found(root, "fewer") == first_of_text(counted, TEXTS) != found(root)
    with pytest.raises(ConfigError, match="column 'text_dup' is written by dup and by fewer"):
        run(root, score(), DUP, fewer, {"name": "both", "from": ["dup", "fewer"]})
