"""New rules ask about newly admitted clips alone, a change of how it is asked about none; another question is another pass."""

from pathlib import Path
from typing import Any

import pytest
from support.openai_server import MODEL, Plan, Served, free_port, serve
from support.planted import (
    CLIPS_A_VIDEO,
    asked_keys,
    asking,
    captioning,
    check_pairing,
    committed_rows,
    copy_of,
    planted_videos,
)
from support.runs import make_config, rows_of, run_inline

from shardpipe.core.errors import ConfigError
from shardpipe.executors.run import run_config
from shardpipe.storage.store import Store, open_store

AES = {"v000": 5.5, "v001": 4.7, "v002": 4.0}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos with their `aes` in a CSV, cut to 24 clips in `cut`."""
    folder = tmp_path_factory.mktemp("scored")
    videos = planted_videos(folder / "videos", len(AES))
    table = folder / "videos.csv"
    table.write_text(
        "url,aes\n" + "".join(f"{videos / name}.mp4,{aes}\n" for name, aes in AES.items()), encoding="utf-8"
    )
    run_inline(make_config(folder / "cut", table))
    return table


class Run:
    """Runs of passes over the clips of `table`, at one root."""

    def __init__(self, table: Path, root: Path, server: Served) -> None:
        self._table, self._server = table, server
        self.root = copy_of(table.parent / "cut", root)
        self._passes: list[dict[str, Any]] = []

    @property
    def store(self) -> Store:
        return open_store(str(self.root))

    def asked(self, *passes: dict[str, Any], **options: Any) -> dict[str, int]:
        """Run these passes too: how often each clip was asked about."""
        self._passes += passes
        return self.asked_now(*self._passes, **options)

    def asked_now(self, *passes: dict[str, Any], execute: Any = None, **options: Any) -> dict[str, int]:
        """The same of these passes alone."""
        before = len(self._server.requests())
        config = make_config(self.root, self._table, [{"unit_clips": 4, **each} for each in passes], execute=execute)
        report = run_inline(config, **options) if execute is None else run_config(config, **options)
        assert not report.failed_units
        return asked_keys(self._server.requests()[before:])

    def clips(self, *videos: str, times: int = 1) -> dict[str, int]:
        """The clips of these videos."""
        rows = rows_of(self.store, "clips")
        return {key: times for key, row in rows.items() if Path(row["source"]).stem in videos}


def text_pass(server: Served, name: str, keep: str, **options: Any) -> dict[str, Any]:
    """A pass that asks twice about each clip that it admits: about its frames with `aes`, and about what was said."""
    how = {"num_in_flight": 5}
    stages = [captioning(server.url, facts=["aes"], **how), asking(server.url, type="llm", **how)]
    return {"name": name, "keep": [keep], "stages": stages, **options}


@pytest.mark.parametrize(
    "execute", [None, pytest.param({"type": "local", "workers": 2, "decoders": 1}, marks=pytest.mark.slow)]
)
def test_rules_admit_more_clips_and_fewer(table: Path, tmp_path: Path, execute: Any) -> None:
    with serve(tmp_path / "log") as server:
        here = Run(table, tmp_path / "root", server)
        strict = text_pass(server, "strict", "aes >= 5")
        loose = text_pass(server, "loose", "aes >= 4.5", reuse=["strict"])
        assert here.asked(strict, execute=execute) == here.clips("v000", times=2)
        assert here.asked(loose, execute=execute) == here.clips("v001", times=2)
        assert not here.asked(text_pass(server, "tight", "aes >= 5", reuse=["loose"]), execute=execute)
        assert not here.asked(
            {"name": "train", "from": "loose", "keep": ["aes >= 5"], "emit": "shards"}, execute=execute
        )
        for name, num in (("strict", 1), ("loose", 2), ("tight", 1)):
            rows = check_pairing(here.store, name, server.requests())
            assert sum(row["text_llm"] is not None for row in rows.values()) == num * CLIPS_A_VIDEO
        apart = Run(table, tmp_path / "apart", server)
        assert apart.asked({**loose, "reuse": []}, execute=execute) == apart.clips("v000", "v001", times=2)
        assert apart.asked(text_pass(server, "tight", "aes >= 5"), execute=execute) == apart.clips("v000", times=2)
        for name in ("loose", "tight"):
            assert rows_of(apart.store, name) == rows_of(here.store, name)


def test_what_is_no_caption_is_an_answer_too(table: Path, tmp_path: Path) -> None:
    """An empty or refused answer is not asked for again by new rules; a clip with an error is."""
    with serve(tmp_path / "log") as server:
        here = Run(table, tmp_path / "root", server)
        keys = sorted(here.clips("v000"))
        assert server.server is not None
        server.server.plan = Plan(by_user={keys[0]: "empty", keys[1]: "refusal", keys[2]: "400"})
        one = {"name": "one", "keep": ["aes >= 5"], "stages": [captioning(server.url)], "max_failed": 1.0}
        two = {**one, "name": "two", "keep": ["aes >= 4.5"], "reuse": ["one"]}
        assert here.asked(one) == here.clips("v000")
        server.server.plan = Plan()
        assert here.asked(two) == here.clips("v001") | {keys[2]: 1}
        rows = rows_of(here.store, "two")
        finishes = [rows[key]["text_finish"] for key in keys[:4]]
        assert finishes == ["empty", "content_filter", "stop", "stop"]


def test_a_change_of_how_it_is_asked_asks_nothing_again(table: Path, tmp_path: Path) -> None:
    """Half of a pass by one server, the other half by another; and when all is done, no server is needed."""
    with serve(tmp_path / "log") as server, serve(tmp_path / "other log") as other:
        here = Run(table, tmp_path / "root", server)
        first = captioning(server.url, num_in_flight=2)
        how = {"retries": 1, "num_in_flight": 9, "timeout_s": 7, "unreachable_s": 5, "api_key_env": "ANOTHER"}
        half = here.asked_now({"name": "text", "stages": [first]}, limit=3)
        assert len(half) == 12
        assert set(committed_rows(here.root, "text")) == set(half)
        assert not here.asked_now({"name": "text", "stages": [captioning(other.url, **how)]})
        rest = asked_keys(other.requests())
        assert rest == dict.fromkeys(set(here.clips(*AES)) - set(half), 1)
        check_pairing(here.store, "text", [*server.requests(), *other.requests()])
        nobody = captioning(f"http://127.0.0.1:{free_port()}/v1", unreachable_s=0, engine_args={"priority": 3})
        assert not here.asked_now({"name": "text", "stages": [nobody]})
        assert len(other.requests()) == len(rest)


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "short"},
        {"model": "larger"},
        {"max_tokens": 99},
        {"num_frames": 3},
        {"seed": 5},
        {"temperature": 0.5},
    ],
)
def test_another_question_is_another_pass(table: Path, tmp_path: Path, other: dict[str, Any]) -> None:
    with serve(tmp_path / "log", Plan(models=(MODEL, "larger"))) as server:
        here = Run(table, tmp_path / "root", server)
        keep = ["aes >= 5"]
        one = {"name": "text", "keep": keep, "stages": [captioning(server.url)]}
        assert here.asked_now(one) == here.clips("v000")
        (field,) = other
        stages = [{**captioning(server.url), **other}]
        with pytest.raises(ConfigError, match=rf"text was made by another configuration:(.|\n)*{field}.*(.|\n)*reuse"):
            here.asked_now({**one, "stages": stages})
        assert not here.asked_now(one)
        again = {"name": "anew", "keep": keep, "stages": stages, "reuse": ["text"]}
        assert here.asked_now(one, again) == here.clips("v000")
