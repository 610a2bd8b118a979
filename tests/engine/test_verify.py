import shutil
from pathlib import Path

import pytest
from support.emitted import add_unit, first_window
from support.tiny_dataset import commit_pass_unit, fake_mp4, keys_of, make_clips, make_pass
from support.tiny_root import COLUMNS, SETTINGS, make_root, missed, objects, problems, score

from shardpipe.core.columns import float32
from shardpipe.core.fingerprint import sha256_hex
from shardpipe.engine.emission.index import finish
from shardpipe.engine.emission.plansettings import PlanSettings
from shardpipe.engine.upkeep.doctor import examine
from shardpipe.engine.upkeep.wish import Wish
from shardpipe.engine.verifying import verifyrows
from shardpipe.engine.verifying.findings import Findings
from shardpipe.engine.verifying.verify import verify
from shardpipe.executors.remove import remove_root
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.removed import Entry, Removed
from shardpipe.storage.store import open_store


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finished")
    make_root(root, {**keys_of(3, 5), "000003": ["bad_0"]}, SETTINGS)
    make_pass(open_store(str(root)), "late", over="train", columns={"n": float32}, score=lambda _: {"n": 1.0})
    return root


@pytest.fixture
def root(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "root")
    return tmp_path / "root"


def test_a_finished_root_has_no_problem(root: Path) -> None:
    report = verify(str(root))
    assert report.problems == ()
    assert report.notes == ()
    assert report.num_objects == len(objects(root)) > 30


def test_a_mutation_of_an_object_of_any_kind_is_found(tmp_path: Path) -> None:
    root = make_root(tmp_path, keys_of(1, 3), PlanSettings(shard_bytes=1 << 20, members=("json", "mp4")))
    kinds = {(path.relative_to(root).parts[:-1], path.suffix, len(path.suffixes)): path for path in objects(root)}
    paths = list(kinds.values())
    assert len(paths) >= 14
    assert not missed(root, paths, num_flips=1)


def test_a_mutation_of_final_objects_is_found_where_windows_were_added(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    first_window(store, ["a_00000000"])
    finish(store, "train")
    for number in (1, 3):
        add_unit(store, [f"b_0000000{number}"])
        finish(store, "train")
    shutil.rmtree(tmp_path / ".tmp", ignore_errors=True)
    finals = [path for path in objects(tmp_path) if path.parent == tmp_path / "train" and path.name != "dataset.json"]
    assert len(finals) == 10
    assert not missed(tmp_path, finals, num_flips=1)


@pytest.mark.slow
def test_every_mutation_of_every_object_is_found(root: Path) -> None:
    assert not missed(root, objects(root), num_flips=7)


def test_a_generation_that_is_a_copy_is_found(root: Path) -> None:
    shutil.copy(root / "score/rows/000000-00.parquet", root / "score/rows/000000-00.1.parquet")
    assert any("holds the rows of unit 000000-00, generation 0" in problem for problem in problems(root))


def test_rows_of_an_input_that_changed_are_found(root: Path) -> None:
    store = open_store(str(root))
    for path in (root / "score/rows").glob("000001-*"):
        path.unlink()
    shutil.rmtree(root / "score/members")
    commit_pass_unit(store, Dataset.open(store, "score").info, "000001", lambda row: {**score(row), "aes": 7.0})
    found = problems(root)
    assert any("train/rows/000001.parquet: was made from other rows" in problem for problem in found)
    assert any(problem.startswith("train/plan/0000.parquet: ") for problem in found)


def test_what_is_not_done_yet_is_named(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    make_clips(store, keys_of(2, 2))
    make_pass(store, "train", columns=COLUMNS, score=score, emit="shards", skip=["000001"])
    assert problems(tmp_path) == [
        "train/rows/000001.parquet: is missing: not done yet, or lost",
        "train/plan: covers not all units: 000000 and 1 more are not planned",
        "train/plan: is missing: not emitted yet, or lost",
    ]


def test_a_tar_of_a_lost_race_is_no_problem(root: Path) -> None:
    import hashlib

    data = b"a tar that another encoder made"
    (root / f"clips/shards/000000-{hashlib.sha256(data).hexdigest()[:12]}.tar").write_bytes(data)
    report = verify(str(root))
    assert report.problems == ()
    assert "no rows name it" in report.notes[0]


def test_objects_of_others_are_left_alone(root: Path) -> None:
    (root / "notes.txt").write_text("x")
    (root / "videos").mkdir()
    (root / "videos/a.mp4").write_text("x")
    report = verify(str(root))
    assert report.problems == ()
    assert "2 objects are not shardpipe's" in report.notes[0]


def test_a_blanked_tar_of_a_lost_race_is_whole_or_a_problem(root: Path) -> None:
    tar = next((root / "clips/shards").glob("000000-*.tar"))
    mp4 = fake_mp4("v0_00000004")
    data = tar.read_bytes().replace(mp4, mp4[:-1] + b"?")
    twin = tar.with_name(f"000000-{sha256_hex(data)[:12]}.tar")
    twin.write_bytes(data)
    remove_root(str(root), Wish(keys=("v0_00000001",)))
    left = twin.read_bytes()
    assert b"__removed__" in left
    assert left != data
    report = verify(str(root))
    assert report.problems == ()
    assert twin.name in report.notes[0]
    for damaged in (left[: len(left) // 1024 * 512], left[:-512], left[:512] + left[1024:], left + bytes(512)):
        twin.write_bytes(damaged)
        assert [problem.path for problem in verify(str(root)).problems] == [f"clips/shards/{twin.name}"]


def test_what_energon_prepared_in_place_is_a_note(root: Path) -> None:
    for name in (".nv-meta/dataset.yaml", ".nv-meta/index.sqlite"):
        (root / "train" / name).parent.mkdir(exist_ok=True)
        (root / "train" / name).write_text("x")
    report = verify(str(root))
    assert report.problems == ()
    assert "2 objects are Energon's" in report.notes[0]
    assert not [each for each in examine(open_store(str(root))).findings if each.kind == "stray"]


def test_an_index_of_a_window_after_the_9999th_is_one(root: Path) -> None:
    shutil.copy(root / "train/index.parquet", root / "train/index.10000.parquet")
    assert any("index.10000.parquet: covers 2 windows, and is one of 10001" in problem for problem in problems(root))


def test_what_cannot_be_checked_says_what_to_do(root: Path) -> None:
    findings = Findings(open_store(str(root)), {})
    for error in (KeyError("v0_1"), FileNotFoundError("x/rows/0.parquet")):
        with findings.guard("train/plan/0000.parquet"):
            raise error
    texts = [problem.text for problem in findings.problems]
    assert "(KeyError: 'v0_1'): mend the other problems first" in texts[0]
    assert texts[1] == "cannot be checked: x/rows/0.parquet is missing; restore that, then verify again"


def test_the_places_of_removed_videos_are_worked_out_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def place(url: str) -> str:
        asked.append(url)
        return url.rpartition("/")[2]

    monkeypatch.setattr(verifyrows, "source_place", place)
    store = open_store(str(root))
    findings = Findings(store, {}, removed=Removed(also=[Entry(None, f"there/{i}.mp4") for i in range(7)]))
    info = Dataset.open(store, "clips").info
    check = verifyrows.RowsCheck(None, findings, None, info)  # type: ignore[arg-type]
    rows = [{"key": f"k_{i}", "source": f"here/{i}.mp4"} for i in range(9)]
    assert [check._is_removed(row) for row in rows] == [True] * 7 + [False] * 2
    assert len(asked) == 7 + 9


def test_deep_decodes_every_clip(finished: Path) -> None:
    report = verify(str(finished), deep=True)
    assert len(report.problems) == 15  # none of the made-up clips is a video
    assert all("cannot be decoded" in problem.text for problem in report.problems)
