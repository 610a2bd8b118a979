"""Configs from YAML: what is read, and how faults are told."""

import pickle
from pathlib import Path

import pytest

from shardpipe.config.load import as_config, load_config, parse_config
from shardpipe.config.models import Config
from shardpipe.core.errors import ConfigError

GOOD = """\
root: s3://bucket/run7
cut:
  sources: s3://raw/videos
  scenes: {type: adaptive, threshold: 3.0, min_s: 1.0, max_s: 20, long: split}
  write: {method: auto, max_trim_s: 0.5, audio: false}
  shard_bytes: 512MiB
passes:
  - name: score
    from: clips
    stages:
      - {type: flow, engine: dis}
    emit: rows
  - name: train
    from: score
    keep: [match >= 20]
    emit: shards
    shard_bytes: 2GB
execute: {type: local}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def load(tmp_path: Path, text: str, *overrides: str) -> Config:
    return load_config(write(tmp_path, text), overrides)


def fault_of(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, *overrides)
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_reads_the_whole_shape(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    assert config.cut is not None
    assert config.cut.source_list == ("s3://raw/videos",)
    assert config.cut.shard_bytes == 512 * 2**20
    assert config.cut.scenes.detector.model_dump()["threshold"] == 3.0
    assert config.cut.scenes.policy.max_s == 20
    score, train = config.passes
    assert score.inputs == ("clips",)
    assert score.stages[0].type == "flow"
    assert score.emit.kind == "rows"
    assert train.emit.members == ["json", "mp4"]
    assert train.shard_bytes == 2 * 10**9
    assert train.keep == ["match >= 20"]


def test_survives_pickle_and_a_dump(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301  our own bytes
    assert parse_config(config.model_dump(by_alias=True)) == config
    assert as_config(config, ["root=elsewhere"]).root == "elsewhere"


def test_overrides(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        GOOD,
        "root=demo/run",
        "passes.train.keep.0=match >= 22",
        "passes.train.keep.1=aes >= 4",
        "passes.0.stages.0.on_error=keep",
        "cut.scenes.threshold=2",
        "prices.cpu_hour=0.04",
        "execute={workers: 3}",
    )
    assert config.root == "demo/run"
    assert config.passes[1].keep == ["match >= 22", "aes >= 4"]
    assert config.passes[0].stages[0].on_error == "keep"
    assert config.prices is not None
    assert config.prices.cpu_hour == 0.04
    assert config.execute.workers == 3


@pytest.mark.parametrize(
    ("emit", "members", "shuffle"),
    [("shards", ["json", "mp4"], None), ("{members: [mp4, txt], shuffle: 7}", ["mp4", "txt"], 7)],
)
def test_forms_of_emit(tmp_path: Path, emit: str, members: list[str], shuffle: int | None) -> None:
    found = load(tmp_path, GOOD.replace("emit: shards", f"emit: {emit}")).passes[1].emit
    assert (found.kind, found.members, found.shuffle) == ("shards", members, shuffle)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("engine: dis", "engine: foo", "run.yaml:11: passes.0.stages.0.engine: 'foo' is not allowed; one of 'dis'"),
        (
            "type: flow,",
            "type: flwo,",
            "run.yaml:11: passes.0.stages.0.type: 'flwo' is no stage (did you mean 'flow'?)",
        ),
        (
            "{type: flow, engine: dis}",
            "{engine: dis}",
            "run.yaml:11: passes.0.stages.0.type: required; one of 'aes', 'annotate', 'ask'",
        ),
        ("threshold", "treshold", "cut.scenes.treshold: unknown key (did you mean 'threshold'?)"),
        (
            "type: adaptive",
            "type: adaptiv",
            "cut.scenes.type: 'adaptiv' is no scene detector (did you mean 'adaptive'?)",
        ),
        (
            "long: split",
            "long: spilt",
            "run.yaml:4: cut.scenes.long: 'spilt' is not allowed; one of 'split', 'truncate'",
        ),
        (
            "min_s: 1.0",
            "min_s: 30",
            "run.yaml:4: cut.scenes: {'min_s': 30, 'max_s': 20, 'long': 'split'} is not allowed; min_s 30.0 is above max_s 20.0",
        ),
        (
            "type: adaptive, threshold: 3.0, min_s: 1.0",
            "type: fixed, every_s: 0.5",
            "run.yaml:4: cut.scenes.every_s: 0.5 is too short, no clip would be left: at least 1 (min_s, and trim_s",
        ),
        (
            "type: adaptive, threshold: 3.0, min_s: 1.0",
            "type: fixed, trim_s: 2.5",
            "run.yaml:4: cut.scenes.every_s: 5.0 is too short, no clip would be left: at least 6",
        ),
        ("threshold: 3.0", "threshold: .nan", "run.yaml:4: cut.scenes.threshold: .nan is no usable number"),
        ("512MiB", "512XB", "run.yaml:6: cut.shard_bytes: '512XB' is not allowed; must be a number of bytes"),
        ("512MiB", "0", "cut.shard_bytes: 0 is not allowed; must be greater than or equal to 1"),
        ("    emit: rows\n", "", "run.yaml:8: passes.0.emit: required, there is no default: rows or shards"),
        ("emit: rows", "emit: row", "passes.0.emit: 'row' is not allowed; one of 'rows', 'shards'"),
        ("emit: rows", "emit: {kind: rows, shuffle: 1}", "shuffle: only for shards"),
        ("emit: shards", "emit: {members: [mp4, mp4]}", "members: mp4 given twice"),
        ("name: score", "name: Score", "passes.0.name: 'Score' is not allowed; must have only a-z, 0-9, _ and -"),
        ("name: score", "name: clips", "passes.0.name: 'clips' is not allowed; must be another name"),
        ("name: score", "name: a/b", "passes.1.from: 'score' is no earlier pass; one of 'clips', or a list of them"),
        ("name: score", f"name: {'a' * 101}", "and at most 100 of them"),
        ("emit: rows", "emit: [rows]", "passes.0.emit: ['rows'] is not allowed; must be rows, shards, or a mapping"),
        ("emit: shards", "emit: {shuffle: yes}", "run.yaml:16: passes.1.emit.shuffle: true is not allowed; must be a"),
        ("threshold: 3.0", "threshold: on", "run.yaml:4: cut.scenes.threshold: true is not allowed; must be a number"),
        ("flow, engine: dis", "quality, per_s: on", "run.yaml:11: passes.0.stages.0.per_s: true is not allowed"),
        ("type: local", "type: local, workers: yes", "run.yaml:18: execute.workers: true is not allowed"),
        ("cut:", "# \x01\ncut:", "run.yaml:2: not valid YAML: the character '\\x01' is not allowed"),
        ("name: train", "name: score", "run.yaml:13: passes.1.name: 'score' is the name of an earlier pass too"),
        ("from: score", "from: scor", "run.yaml:14: passes.1.from: 'scor' is no earlier pass (did you mean 'score'?)"),
        ("from: score", "from: train", "passes.1.from: 'train' is no earlier pass"),
        ("from: score", "from: [score, score]", "passes.1.from.1: 'score' is named twice"),
        ("from: score", "from: []", "passes.1.from: [] is not allowed; every name needs"),
        ("[match >= 20]", "match >= 20", "passes.1.keep: 'match >= 20' is not allowed; must be a valid list"),
        ("[match >= 20]", "['']", "passes.1.keep.0: '' is not allowed"),
        ("shard_bytes: 2GB", "rename: {a: B}", "passes.1.rename.a: 'B' is no column name"),
        ("type: local", "type: ray", "run.yaml:18: execute.type: 'ray' is not allowed; one of 'local'"),
        ("root: s3://bucket/run7\n", "", "run.yaml:1: root: required"),
        ("root:", "root: x\nroot:", "run.yaml:2: root: given twice, first on line 1"),
        (
            "    from: clips",
            "    from: clips\n    from: clips",
            "run.yaml:10: passes.0.from: given twice, first on line 9",
        ),
        ("execute: {", "execute: }{", "run.yaml:18: not valid YAML"),
    ],
)
def test_faults_name_file_line_path_value_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert old in GOOD
    assert expected in fault_of(tmp_path, GOOD.replace(old, new, 1))


def test_all_faults_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (
        GOOD.replace("dis", "foo").replace("from: score", "from: nowhere").replace("local", "ray").replace("3.0", "x")
    )
    lines = fault_of(tmp_path, text, "passes.train.batch_clips=0").splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "cut.scenes.threshold",
        "passes.0.stages.0.engine",
        "passes.1.from",
        "execute.type",
        "passes.1.batch_clips",
    ]
    assert lines[-1].startswith("--set passes.train.batch_clips: ")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("passes.trian.keep.0=x", "passes has no 'trian' (did you mean 'train'?); one of 'score', 'train', 0 to 2"),
        ("passes.train.keep.7=x", "the highest position is 1"),
        ("root.deeper=x", "root is 's3://bucket/run7', which has no 'deeper' inside"),
        ("root", "give path=value"),
        ("=x", "give path=value"),
        ("root=: [", "--set root:1: not valid YAML"),
        ('passes.train.keep.0="a b" > 3', "needs quotes around all of it"),
        ("root=", "--set root: root: None is not allowed"),
        ("passes.train.from=x", "--set passes.train.from: passes.1.from: 'x' is no earlier pass"),
    ],
)
def test_faults_of_overrides(tmp_path: Path, override: str, expected: str) -> None:
    assert expected in fault_of(tmp_path, GOOD, override)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "run.yaml: the config is empty"),
        ("- a", "run.yaml:1: the config is no mapping"),
        ("a: 1\n---\nb: 2", "not valid YAML"),
        ("root: x", "run.yaml:1: has nothing to do: give cut, passes or both"),
        ("? [a]\n: 1", "a key must be a word"),
        ("root: !!python/object:os.system x", "not valid YAML"),
        ("a: &a [*a]", "not valid YAML"),
    ],
)
def test_no_config_at_all(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in fault_of(tmp_path, text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.yaml: the config cannot be read: No such file"):
        load_config(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"root: caf\xe9\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "latin.yaml")


def test_anchors_and_merges_are_no_duplicates(tmp_path: Path) -> None:
    text = GOOD.replace("execute: {type: local}", "execute: {<<: {workers: 1, decoders: 2}, workers: 3}")
    config = load(tmp_path, text)
    assert (config.execute.workers, config.execute.decoders) == (3, 2)


def test_environment_variables_are_not_expanded(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD, "root=$HOME/${USER}").root == "$HOME/${USER}"


def test_a_config_without_cut(tmp_path: Path) -> None:
    config = parse_config({"root": "x", "passes": [{"name": "a", "from": "clips", "emit": "rows"}]})
    assert config.cut is None
    assert config.pass_named("a") is config.passes[0]
    assert config.pass_named("b") is None


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        ("{.txt: text}", "'.txt' is no extension"),
        ("{json: text}", "json: say which key is the caption: {caption: text}"),
        ("{txt: Text}", "'Text' is no column name"),
        ("{txt: kept}", "'kept' is no column name"),
        ("{txt: duration_s}", "'duration_s' is a column that `cut` writes itself"),
        ("{txt: etag}", "'etag' is a column that `cut` writes itself"),
        ("{txt: text, json: {caption: text}}", "'text' is named twice"),
        ("[txt]", "cut.captions"),
    ],
)
def test_captions_that_are_refused(tmp_path: Path, captions: str, message: str) -> None:
    text = GOOD.replace("  scenes:", f"  captions: {captions}\n  scenes:", 1)
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text)
    assert message in str(raised.value)
    assert "run.yaml:4" in str(raised.value)
