"""`shardpipe captions`: what people and programs see of captions that strangers wrote."""

import json

import pytest
from support.tiny_dataset import Row, make_clips, make_pass

from shardpipe.cli.app import run_app
from shardpipe.core.columns import string
from shardpipe.storage.store import open_store

Captured = pytest.CaptureFixture[str]
EVIL = "[red]a\x1b[2J dog[/red]\u202e runs\r\n:smile:"
TEXTS = {"v_0": ("a red dog runs", "a big red cat runs"), "v_1": (EVIL, None), "v_2": (None, "alone")}


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "100")
    folder = str(tmp_path_factory.mktemp("root"))
    store = open_store(folder)
    make_clips(store, {"000000": list(TEXTS)})
    columns = {"text": string, "text_model": string}

    def first(row: Row) -> Row:
        return {"text": TEXTS[row["key"]][0], "text_model": "\x1b]0;tiny"}

    make_pass(store, "a", columns=columns, score=first)
    make_pass(store, "b", columns=columns, score=lambda row: {"text": TEXTS[row["key"]][1]})
    return folder


def test_two_passes_for_people(root: str, capsys: Captured) -> None:
    assert run_app(["captions", root]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "v_0"
    assert lines[1].split() == ["a.text", "b.text"]
    assert lines[2].split("  ")[0] == "a red [-dog-] runs"
    assert lines[2].endswith("  a {+big+} red {+cat+} runs")
    assert "text_model=\\x1b]0;tiny" in lines[3]
    assert lines[-1] == "1 clips have both, 0 (0.0%) the same; only a.text: 1, only b.text: 1"


def test_what_strangers_write_is_written_out(root: str, capsys: Captured) -> None:
    assert run_app(["captions", root, "--pass", "a", "--key", "v_1"]) == 0
    text = capsys.readouterr().out
    assert "[red]a\\x1b[2J dog[/red]\\u202e runs\\r\\n:smile:" in text
    assert all(char.isprintable() or char == "\n" for char in text)


def test_a_caption_without_end_is_shown_in_part(root: str, capsys: Captured) -> None:
    texts = {"v_0": "a dog " * 170_000, "v_1": "a cat"}
    make_pass(open_store(root), "c", columns={"text": string}, score=lambda row: {"text": texts.get(row["key"])})
    for against in ([], ["--against", "a"]):
        assert run_app(["captions", root, "--pass", "c", "--key", "v_0", *against]) == 0
        text = capsys.readouterr().out
        assert len(text) < 30_000
        assert "1,015,000 more characters" in " ".join(text.split())


def test_for_programs(root: str, capsys: Captured) -> None:
    assert run_app(["captions", root, "--pass", "b", "--against", "a", "--json", "--num", "5"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [side["pass_name"] for side in report["sides"]] == ["b", "a"]
    assert report["pairs"] == {"num_both": 1, "num_only_a": 1, "num_only_b": 1, "num_equal": 0}
    (sample,) = report["samples"]
    assert sample["key"] == "v_0"
    assert [each["text"] for each in sample["captions"]] == ["a big red cat runs", "a red dog runs"]
    differing = [[part["text"].strip() for part in each["parts"] if part["differs"]] for each in sample["captions"]]
    assert differing == [["big", "cat"], ["dog"]]
    assert run_app(["captions", root, "--pass", "a", "--json", "--where", "text LIKE '%red dog%'"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["pairs"] is None
    assert [each["key"] for each in report["samples"]] == ["v_0"]
    assert run_app(["captions", root, "--pass", "a", "--json", "--key", "v_1"]) == 0
    assert json.loads(capsys.readouterr().out)["captions"][0]["text"] == EVIL


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pass", "nobody"], "nobody is no Dataset"),
        (["--pass", "../a"], "'../a' is no name of a Dataset"),
        (["--column", "txt"], "has no column 'txt'"),
        (["--key", "nobody"], "has no clip 'nobody'"),
        (["--where", "txt = 1"], "txt"),
        (["--where", "1; DROP TABLE a"], "DROP"),
        (["--num", "-1"], "--num"),
    ],
)
def test_what_is_refused(root: str, words: list[str], message: str, capsys: Captured) -> None:
    assert run_app(["captions", root, *words]) == 2
    assert message in capsys.readouterr().err
    assert run_app(["captions", f"{root}/none"]) == 2
