"""Every command on a small finished run."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from shardpipe.cli.app import run_app

Captured = pytest.CaptureFixture[str]


def test_run_again_does_nothing_and_ends_with_the_funnel(config: Path, capsys: Captured) -> None:
    assert run_app(["run", str(config), "--json"]) == 0
    found = capsys.readouterr()
    report = json.loads(found.out)
    clips, score, train = report["passes"]
    assert [each["complete"] for each in report["passes"]] == [True, True, True]
    assert (clips["num_seen"], clips["num_kept"], clips["num_failed"]) == (5, 4, 1)
    assert clips["losses"] == [{"reason": "error: cut", "num_clips": 1, "duration_s": 0.0}]
    assert (score["num_seen"], score["num_kept"]) == (4, 4)
    assert train["losses"] == [{"reason": "start_s < 1.5", "num_clips": 2, "duration_s": 2.0}] or train["num_kept"] == 4
    assert report["total"]["cpu_s"] > 0
    assert report["total"]["cost_per_1000_kept"] > 0
    assert report["run"]["pending"] == {}
    assert "done before" in found.err


def test_funnel_for_people(config: Path, capsys: Captured) -> None:
    assert run_app(["run", str(config)]) == 0
    text = capsys.readouterr().out
    assert "- error: cut" in text
    assert "for 1,000 kept clips" in text
    assert "CPU hours" in text


def test_plan(config: Path, capsys: Captured) -> None:
    assert run_app(["plan", str(config), "--json"]) == 0
    phases = json.loads(capsys.readouterr().out)["phases"]
    assert [(each["name"], each["phase"]) for each in phases] == [
        ("clips", "cut"),
        ("score", "rows"),
        ("train", "rows"),
        ("train", "emit"),
    ]
    assert phases[0]["num_units"] == phases[0]["num_done"]
    assert run_app(["run", str(config), "--dry-run"]) == 0
    assert "CPU h" in capsys.readouterr().out


def test_plan_prices_1000_kept_clips_as_the_funnel_does(config: Path, capsys: Captured) -> None:
    assert run_app(["run", str(config), "--json"]) == 0
    spent = json.loads(capsys.readouterr().out)["total"]
    assert run_app(["plan", str(config), "--json"]) == 0
    total = json.loads(capsys.readouterr().out)["total"]
    assert (total["cost"], total["requests"]) == (0, 0)
    assert total["cost_per_1000_kept"] == pytest.approx(spent["cost_per_1000_kept"])
    assert run_app(["plan", str(config)]) == 0
    assert "for 1,000 kept clips" in capsys.readouterr().out


def test_plan_of_a_new_root_says_what_is_there_and_what_is_not_known(config: Path, capsys: Captured) -> None:
    fresh = ["--set", f"root={config.parent}/fresh"]
    assert run_app(["plan", str(config), *fresh]) == 0
    told = capsys.readouterr().out
    assert "3 videos, " in told
    assert "is not known yet" in told
    assert run_app(["plan", str(config), *fresh, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["cost_per_1000_kept"] is None
    assert run_app(["run", str(config), "--set", f"root={config.parent}/part", "--limit", "1"]) == 0
    capsys.readouterr()
    assert run_app(["plan", str(config), "--set", f"root={config.parent}/part", "--json"]) == 0
    for each in json.loads(capsys.readouterr().out)["phases"]:
        assert each["phase"] == "emit" or (each["num_units"], each["num_done"]) == (3, 1), "what waits is counted too"


def test_status(root: str, capsys: Captured) -> None:
    assert run_app(["status", root, "--json"]) == 0
    passes = json.loads(capsys.readouterr().out)["passes"]
    assert [each["name"] for each in passes] == ["clips", "score", "train"]
    assert passes[2]["num_shards"] == passes[2]["num_shards_done"] == 1
    assert run_app(["status", root]) == 0
    assert "complete" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["clips", "score", "train"])
def test_inspect_a_dataset(root: str, name: str, capsys: Captured) -> None:
    assert run_app(["inspect", f"{root}/{name}", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    key = next(row["key"] for row in rows if row["kept"])
    assert run_app(["inspect", f"{root}/{name}", key]) == 0
    sidecar = json.loads(capsys.readouterr().out)
    assert sidecar["key"] == key
    assert ("flow_px_s" in sidecar) == (name != "clips")
    assert not {"kept", "dropped_by", "error", "shard"} & set(sidecar)
    assert run_app(["inspect", f"{root}/{name}"]) == 0
    assert key in capsys.readouterr().out
    assert run_app(["inspect", f"{root}/{name}", "nobody"]) == 2
    assert "has no clip 'nobody'" in capsys.readouterr().err


def test_inspect_a_shard(root: str, capsys: Captured) -> None:
    shard = f"{root}/train/shards/train-000000.tar"
    assert run_app(["inspect", shard, "--json"]) == 0
    samples = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert list(samples[0]["members"]) == ["json", "mp4"]
    assert run_app(["inspect", shard, samples[0]["key"]]) == 0
    sidecar = json.loads(capsys.readouterr().out)
    assert run_app(["inspect", f"{root}/score", samples[0]["key"]]) == 0
    assert json.loads(capsys.readouterr().out) == sidecar, "the folded sidecar is what emit writes"
    assert run_app(["inspect", shard]) == 0
    assert "json mp4" in capsys.readouterr().out
    assert run_app(["inspect", shard, "nobody"]) == 2
    assert "has no clip 'nobody'" in capsys.readouterr().err


def test_query(root: str, capsys: Captured) -> None:
    assert run_app(["query", root, "SELECT count(*) AS n, count(error) AS e FROM clips", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"n": 5, "e": 1}
    assert run_app(["query", root, "SELECT key FROM train WHERE kept"]) == 0
    assert capsys.readouterr().out.startswith("key\n")
    assert run_app(["query", root, "SELECT ky FROM train"]) == 2
    assert "key" in capsys.readouterr().err


def test_verify(root: str, capsys: Captured) -> None:
    assert run_app(["verify", root]) == 0
    assert run_app(["verify", root, "--deep", "--json"]) == 0
    assert capsys.readouterr().out


def test_retry_is_refused_once_shards_are_planned(root: str, capsys: Captured) -> None:
    assert run_app(["retry", root]) == 2
    assert "planned" in capsys.readouterr().err


def test_emit_of_a_rows_pass_and_an_existing_root_with_another_config(
    config: Path, root: str, tmp_path: Path, capsys: Captured
) -> None:
    root = str(shutil.copytree(root, tmp_path / "own"))
    assert run_app(["emit", f"{root}/score", "--json", "--member", "json", "--member", "mp4"]) == 0
    assert json.loads(capsys.readouterr().out)["num_clips"] == 4
    assert run_app(["run", str(config), "--set", f"root={root}", "--set", "passes.train.keep.1=start_s < 0.5"]) == 2
    found = capsys.readouterr().err
    assert "start_s < 1.5" in found
    assert "start_s < 0.5" in found


def test_a_misspelt_column_is_found_before_anything_runs(config: Path, capsys: Captured) -> None:
    changed = ["--set", "passes.train.keep.0=duraton_s > 1", "--set", f"root={config.parent}/never"]
    assert run_app(["run", str(config), *changed]) == 2
    assert "duration_s" in capsys.readouterr().err
    assert not (config.parent / "never" / "clips").exists()


def test_a_dry_run_takes_the_same_options_as_the_run(config: Path, root: str, capsys: Captured) -> None:
    videos = sorted(Path(yaml.safe_load(config.read_text())["cut"]["sources"]).glob("*.mp4"))
    copy = Path(root).parent / "more.mp4"
    copy.write_bytes(videos[0].read_bytes())
    assert run_app(["run", str(config), "--dry-run", "--add-sources", str(copy), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_new_videos"] == 1
    assert run_app(["run", str(config), "--dry-run", "--add-sources", str(videos[0])]) == 0
    assert "0 new videos" in capsys.readouterr().out
    assert run_app(["run", str(config), "--dry-run", "--pass", "train", "--json"]) == 0
    assert {each["name"] for each in json.loads(capsys.readouterr().out)["phases"]} == {"train"}
    assert run_app(["run", str(config), "--dry-run", "--partial", "--json"]) == 0
    assert {each["phase"] for each in json.loads(capsys.readouterr().out)["phases"]} == {"cut", "rows"}
    fresh = config.with_name("fresh.yaml")
    fresh.write_text(config.read_text(encoding="utf-8").replace(str(root), f"{root}-fresh"), encoding="utf-8")
    assert run_app(["run", str(fresh), "--dry-run", "--add-sources", str(videos[0]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_new_videos"] == 0
    copy.unlink()


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pass", "nosuch"], "--pass nosuch: there is no such pass"),
        (["--add-sources", "no/such"], "--add-sources: no/such does not exist"),
        (["--add-sources", "x.mp4", "--pass", "train"], "--pass train cuts nothing"),
    ],
)
def test_options_that_cannot_be_obeyed_are_refused_before_anything_runs(
    config: Path, options: list[str], message: str, dry: list[str], capsys: Captured
) -> None:
    never = config.parent / "never-made"
    assert run_app(["run", str(config), "--set", f"root={never}", *options, *dry]) == 2
    assert message in capsys.readouterr().err
    assert not never.exists()


def test_other_sources_on_an_existing_root_name_the_way_to_add_them(config: Path, capsys: Captured) -> None:
    assert run_app(["plan", str(config), "--set", "cut.sources=elsewhere"]) == 2
    told = capsys.readouterr().err
    assert "elsewhere" in told
    assert "`run --add-sources`" in told
    assert "Give the pass another name" not in told


def test_a_root_in_place_of_a_dataset(root: str, capsys: Captured) -> None:
    for place in (root, f"{root}/scoer"):
        assert run_app(["inspect", place]) == 2
        assert f"there are: {root}/clips, {root}/score, {root}/train" in capsys.readouterr().err


def test_emit_of_clips_counts_its_shards(root: str, tmp_path: Path, capsys: Captured) -> None:
    root = str(shutil.copytree(root, tmp_path / "own"))
    assert run_app(["emit", f"{root}/clips", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["num_shards"] == 1
    assert made["num_bytes"] == Path(f"{root}/clips/shards/clips-000000.tar").stat().st_size
