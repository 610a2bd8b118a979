"""Status and funnel of runs that are under way, by the inline executor."""

from pathlib import Path

import pytest
from support.small_run import write_small_run

from shardpipe.config.load import load_config
from shardpipe.core.errors import ConfigError, IncompleteError
from shardpipe.engine.timings import Timing
from shardpipe.engine.views.report import ancestry, funnel, status
from shardpipe.executors.inline import InlineExecutor
from shardpipe.executors.run import run_config
from shardpipe.storage.store import Store, open_store


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A root in which each phase did its first two units of three."""
    folder = tmp_path_factory.mktemp("limited") / "it"
    config = load_config(write_small_run(folder))
    store = open_store(config.root)
    run_config(config, limit=2, store=store, executor=InlineExecutor(store))
    return open_store(config.root, read_only=True)


def test_counts_are_of_the_units_that_are_done(limited: Store) -> None:
    clips, score, train = status(limited).passes
    assert (clips.num_units, clips.num_units_done, clips.complete) == (3, 2, False)
    assert (score.num_units, score.num_units_done, score.complete) == (3, 2, False)
    assert score.num_seen == clips.num_kept
    assert (train.num_shards, train.complete) == (0, False)
    assert clips.clips_per_s is not None
    assert clips.eta_s is not None
    assert clips.num_seen == clips.num_kept + clips.num_dropped
    assert clips.seen_s == pytest.approx(clips.num_kept * 1.0)


def test_only_some_passes(limited: Store) -> None:
    assert [each.name for each in status(limited, only=["score", "absent"]).passes] == ["score"]


def test_funnel_is_a_datasets_own_line(limited: Store) -> None:
    assert ancestry(limited, "score") == ["clips", "score"]
    assert [each.name for each in funnel(limited, "score").passes] == ["clips", "score"]
    with pytest.raises(IncompleteError, match="is no Dataset"):
        funnel(limited, "absent")


def test_a_root_without_datasets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no Dataset here"):
        status(open_store(str(tmp_path), read_only=True))


def test_status_needs_no_timings(limited: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> list[Timing]:
        return []

    monkeypatch.setattr("shardpipe.engine.views.report.read_timings", none)
    clips = status(limited).passes[0]
    assert (clips.usage, clips.clips_per_s, clips.eta_s) == (None, None, None)
    assert clips.num_units_done == 2
