"""Weights in runs: found before anything runs, named by hash, the same wherever they lie, checked by who loads them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.fakes import CALLS, Scored
from support.runs import calls, make_config, rows_of, run_inline
from support.tiny_clip import clip_folder
from support.weighted import PAGE, Weighted, write_number

from shardpipe.config.models import Config
from shardpipe.config.parts import EmitConfig
from shardpipe.core.errors import ConfigError, UnitError
from shardpipe.core.fingerprint import sha256_hex
from shardpipe.engine.prepare import pass_task, prepare
from shardpipe.engine.worker import NoWatch
from shardpipe.executors import retry as retrying
from shardpipe.executors.inline import InlineExecutor
from shardpipe.executors.plan import plan_config
from shardpipe.executors.retry import retry_root
from shardpipe.executors.run import emit_pass
from shardpipe.stages.classify import Classify
from shardpipe.stages.embed import Embed
from shardpipe.storage.dataset import Dataset, DatasetInfo
from shardpipe.storage.store import open_store


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDPIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SHARDPIPE_OFFLINE", raising=False)


@pytest.fixture
def head(tmp_path: Path) -> Path:
    return write_number(tmp_path / "models" / "head.txt", 2.0)


def score(root: Path, videos: Path, *stages: Any, more: tuple[dict[str, Any], ...] = (), **options: Any) -> Config:
    return make_config(root, videos, [{"name": "score", "stages": list(stages), "max_failed": 1.0, **options}, *more])


def info_of(root: Path, name: str = "score") -> DatasetInfo:
    return Dataset.open(open_store(str(root)), name).info


def test_the_hash_is_in_the_identity_and_the_place_in_the_lineage(head: Path, videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert not run_inline(score(root, videos, Weighted(weights=str(head)))).pending
    info = info_of(root)
    sha256 = sha256_hex(head.read_bytes())
    (step,) = info.identity["steps"]
    assert step["weights"] == {"head": sha256}
    assert str(head) not in str(info.identity)
    assert "weights" not in step["stage"]
    (used,) = info.weights
    assert used.step == 0
    (file,) = used.files
    assert (file.name, file.url, file.sha256, file.licence, file.source) == ("head", str(head), sha256, "MIT", PAGE)
    assert {row["weighted"] for row in rows_of(open_store(str(root)), "score").values()} == {0.0, 2.0, 4.0}


def test_the_same_bytes_elsewhere_are_the_same_result(head: Path, videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    run_inline(score(root, videos, Weighted(weights=str(head))))
    CALLS.clear()
    moved = head.rename(tmp_path / "elsewhere.txt")
    assert not run_inline(score(root, videos, Weighted(weights=f"file://{moved}"))).pending
    assert calls("weighted") == []


def test_other_bytes_in_the_same_place_are_refused(head: Path, videos: Path, tmp_path: Path) -> None:
    config = score(tmp_path / "root", videos, Weighted(weights=str(head)))
    run_inline(config)
    old = sha256_hex(head.read_bytes())
    write_number(head, 3.0)
    new = sha256_hex(head.read_bytes())
    with pytest.raises(ConfigError, match=rf"steps\.0\.weights\.head: '{old}' there, '{new}' here"):
        run_inline(config)


def test_reuse_takes_results_of_the_same_weights_only(head: Path, videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    first = {"name": "score", "stages": [Weighted(weights=str(head))]}
    run_inline(make_config(root, videos, [first]))
    CALLS.clear()
    copy = write_number(tmp_path / "copy.txt", 2.0)
    again = {"name": "again", "stages": [Weighted(weights=str(copy))], "reuse": ["score"]}
    run_inline(make_config(root, videos, [first, again]))
    assert calls("weighted") == []
    other = write_number(tmp_path / "other.txt", 5.0)
    anew = {"name": "anew", "stages": [Weighted(weights=str(other))], "reuse": ["score"]}
    run_inline(make_config(root, videos, [first, anew]))
    assert len(calls("weighted")) == 5
    assert 5.0 in {row["weighted"] for row in rows_of(open_store(str(root)), "anew").values()}


def test_shared_steps(head: Path, videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    encoders = [str(write_number(tmp_path / f"e{i}.txt", i + 1.0)) for i in range(2)]
    stages = [
        Weighted(weights=str(head), encoder=encoders[i], column=column) for i, column in ((0, "a"), (0, "b"), (1, "c"))
    ]
    assert not run_inline(score(root, videos, *stages)).pending
    steps = info_of(root).identity["steps"]
    assert [step["weights"].get("shares.0.backbone") for step in steps] == [
        sha256_hex(Path(encoders[i]).read_bytes()) for i in (0, 0, 1)
    ]
    assert [file.name for file in info_of(root).weights[2].files] == ["head", "shares.0.backbone"]
    assert len(calls("encoder")) == 2 * 5  # other weights are another step
    row = next(row for key, row in rows_of(open_store(str(root)), "score").items() if key.endswith("_00002000"))
    assert (row["a"], row["b"], row["c"]) == (4.0, 4.0, 8.0)
    write_number(Path(encoders[1]), 9.0)
    with pytest.raises(ConfigError, match=r"steps\.2\.weights\.shares\.0\.backbone"):
        run_inline(score(root, videos, *stages))


@pytest.mark.parametrize("how", [run_inline, plan_config])
def test_all_that_is_missing_is_told_at_once(how: Any, videos: Path, tmp_path: Path) -> None:
    root, none = tmp_path / "root", tmp_path / "none.txt"
    more = (
        {
            "name": "more",
            "from": "score",
            "stages": [Weighted(weights="memory://x/y.txt", encoder=str(none), column="b")],
        },
    )
    config = score(root, videos, Scored(), Weighted(), more=more)
    with pytest.raises(ConfigError) as caught:
        how(config)
    text = str(caught.value)
    assert text.startswith("3 files of weights are not here, and nothing was run:\n")
    assert (
        "passes.score.stages.1 (weighted): head: hf://org/repo/head.txt (licence: MIT, 3,700,000 bytes): not pulled yet\n"
        "      to have it: shardpipe models CONFIG --pull\n"
        f"      or: get it at {PAGE}, and give --set passes.score.stages.1.weights=PATH\n"
        "      to run without it: leave passes.score.stages.1 (weighted) out"
    ) in text
    assert "passes.more.stages.0 (weighted): head: memory://x/y.txt" in text
    assert (
        f"passes.more.stages.0 (weighted): shares.0.backbone: {none} (licence: unknown): there is no such file" in text
    )
    assert "give --set passes.more.stages.0.encoder=PATH" in text
    assert not root.exists()


@pytest.mark.parametrize(
    ("backbone", "setting"),
    [
        ("ViT-L-14/openai", "'passes.score.stages.0.backbone={model: ViT-L-14, weights: PATH, like: openai}'"),
        ("hf-hub:timm/ViT-B-16-SigLIP", "passes.score.stages.0.backbone=FOLDER"),
        ("./none", "passes.score.stages.0.backbone=FOLDER"),
        ({"model": "ViT-B-32", "weights": "none.pt"}, "passes.score.stages.0.backbone.weights=PATH"),
    ],
)
def test_how_another_copy_of_a_backbone_is_named(backbone: Any, setting: str, videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_config(score(tmp_path / "root", videos, Embed(backbone=backbone)))
    assert f"give --set {setting}\n" in str(caught.value)


def test_offline_says_where_to_pull(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDPIPE_OFFLINE", "1")
    with pytest.raises(ConfigError, match=r"SHARDPIPE_OFFLINE=1 forbids(.|\n)*--pull where there is a network"):
        run_inline(score(tmp_path / "root", videos, Weighted()))


def test_a_finished_pass_needs_no_weights(head: Path, videos: Path, tmp_path: Path) -> None:
    """Its hash is in dataset.json: the passes after it run, and are emitted, until there is something new to score."""
    root = tmp_path / "root"
    stage = Weighted(weights=str(head))
    run_inline(score(root, videos, stage))
    head.unlink()
    train = {"name": "train", "from": "score", "keep": ["weighted > 1"], "emit": "shards"}
    assert not run_inline(score(root, videos, stage, more=(train,))).pending
    assert plan_config(score(root, videos, stage, more=(train,))).phases
    emit_pass(str(root), "score", EmitConfig(), shard_bytes=1 << 20)
    with pytest.raises(ConfigError, match="1 file of weights is not here"):
        run_inline(score(root, videos, stage), add_sources=str(videos / "v0.mp4"))
    with pytest.raises(ConfigError, match="1 file of weights is not here"):  # another file, of which nothing is known
        run_inline(score(root, videos, Weighted(weights=str(tmp_path / "other.txt"))))


def test_an_unfinished_pass_needs_them(head: Path, videos: Path, tmp_path: Path) -> None:
    config = score(tmp_path / "root", videos, Weighted(weights=str(head)), unit_clips=1)
    run_inline(config, limit=1)
    head.unlink()
    with pytest.raises(ConfigError, match="1 file of weights is not here"):
        run_inline(config)


def test_one_pass_alone_needs_its_own(videos: Path, tmp_path: Path) -> None:
    train = {"name": "train", "from": "score", "emit": "rows"}
    other = {"name": "other", "stages": [Scored()]}
    config = score(tmp_path / "root", videos, Weighted(), more=(train, other))
    assert not run_inline(config, only="clips").pending
    assert not run_inline(config, only="other").pending
    assert [phase.name for phase in plan_config(config, only="other").phases] == ["other"]
    for only in ("score", "train"):
        with pytest.raises(ConfigError, match=r"passes\.score\.stages\.0 \(weighted\): head"):
            run_inline(config, only=only)
    with pytest.raises(ConfigError, match="there is no such pass"):
        run_inline(config, only="nobody")


def test_a_worker_refuses_what_was_not_planned(head: Path, videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    config = score(root, videos, Weighted(weights=str(head)))
    run_inline(config, only="clips")
    store = open_store(str(root))
    prepared = prepare(store, config).passes[0]
    task = pass_task(prepared, prepared.shape.info, config, decoders=0)
    write_number(head, 7.0)
    with pytest.raises(UnitError, match=r"score: stage weighted would load other weights.*its head, .*head\.txt"):
        task.make(store, "cpu", NoWatch())


def test_retry_loads_what_was_loaded(head: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    monkeypatch.setattr(retrying, "stage_class", {"weighted": Weighted, "scored": Scored}.__getitem__)
    monkeypatch.setattr(retrying, "executor_for", lambda _, store, **__: InlineExecutor(store))
    encoder = write_number(tmp_path / "e.txt", 3.0)
    run_inline(score(root, videos, Scored(), Weighted(weights=str(head), encoder=str(encoder), fails=(1000,))))
    assert retry_root(str(root)).passes == ("score",)  # they fail again, with the same weights
    assert {row["weighted"] for row in rows_of(open_store(str(root)), "score").values()} == {0.0, None, 12.0}
    write_number(encoder, 4.0)
    with pytest.raises(ConfigError, match=r"its shares\.0\.backbone, .* has changed since"):
        retry_root(str(root))
    encoder.unlink()
    with pytest.raises(ConfigError, match="there is no such file"):
        retry_root(str(root))


def test_retry_of_classes_in_any_order(
    head: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first class is the one that is scored; what is stored of a pass has its keys sorted."""
    root = tmp_path / "root"
    kinds = {"weighted": Weighted, "classify": Classify}
    monkeypatch.setattr(retrying, "stage_class", kinds.__getitem__)
    monkeypatch.setattr(retrying, "executor_for", lambda _, store, **__: InlineExecutor(store))
    prompts = {"watermark": ("a watermark",), "clean": ("a photo",)}
    mark = Classify(backbone=clip_folder(tmp_path / "clip"), name="mark", num_frames=1, prompts=prompts)
    run_inline(score(root, videos, mark, Weighted(weights=str(head), fails=(1000,))))
    before = {key: row["mark"] for key, row in rows_of(open_store(str(root)), "score").items()}
    assert retry_root(str(root)).passes == ("score",)
    after = rows_of(open_store(str(root)), "score")
    assert {key: row["mark"] for key, row in after.items()} == before


def test_a_plan_needs_no_torch(head: Path, videos: Path, tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules["torch"] = sys.modules["open_clip"] = sys.modules["transformers"] = None
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from support.runs import make_config
from support.weighted import Weighted
from shardpipe.executors.plan import plan_config
stages = [Weighted(weights={str(head)!r}), Weighted(weights="memory://a/b.txt", column="b"), Weighted(column="c")]
config = make_config({str(tmp_path / "root")!r}, {str(videos)!r}, [{{"name": "score", "stages": stages}}])
try:
    plan_config(config)
except Exception as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("2 files of weights are not here"), done.stdout
