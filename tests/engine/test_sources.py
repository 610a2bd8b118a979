"""Listing: names with odd characters, tables with odd columns, tars that are broken, and the run's own shards."""

import datetime as dt
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet
import pytest
from fsspec.implementations.local import LocalFileSystem
from support.counted_fs import counted

from shardpipe.core.errors import ConfigError, MediaError
from shardpipe.engine.sources.rawfile import open_source, times_reader
from shardpipe.engine.sources.sourceplace import locate
from shardpipe.engine.sources.sources import Listing, list_sources


def listed(source: Path | str, root: Path | str = "/nowhere") -> Listing:
    return list_sources([str(source)], root=str(root))


def urls(source: Path | str, root: Path | str = "/nowhere") -> list[str]:
    return [video.url for video in listed(source, root).videos]


def part(url: str) -> dict[str, Any]:
    return {"url": url, "container": None, "offset": 0, "size": None, "etag": None}


@pytest.mark.parametrize("name", ["in [raw]", "x?y", "a*b", "c::d", "with space", "ünï ☃"])
def test_a_folder_that_is_there_is_no_glob(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    video = tmp_path / name / "a::b.mp4"
    video.write_bytes(b"x")
    (tmp_path / name / "list [1].txt").write_text(f"{video}\n", encoding="utf-8")
    for source in (tmp_path / name, video, tmp_path / name / "list [1].txt"):
        (found,) = listed(source).videos
        assert (found.url, found.size) == (str(video), 1)
        with open_source(part(found.url)) as media:
            assert media == video


def test_a_list_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffa.mp4\r\n# no\r\nb.mp4\r\n".encode())
    assert urls(tmp_path / "a.txt") == ["a.mp4", "b.mp4"]


def test_a_name_that_is_no_unicode_becomes_an_error(tmp_path: Path) -> None:
    (tmp_path / "caf\udce9.mp4").write_bytes(b"x")
    (url,) = urls(tmp_path)
    assert url == f"{tmp_path}/caf\\xe9.mp4"
    with pytest.raises(MediaError, match="no valid UTF-8: rename it"), open_source(part(url)):
        pass


def test_broken_tars_in_a_folder_become_errors(tmp_path: Path) -> None:
    for name in ("one.mp4", "two.mp4"):
        (tmp_path / name).write_bytes(bytes(2000))
    with tarfile.open(tmp_path / "whole.tar", "w") as tar:
        for name in ("one.mp4", "two.mp4"):
            tar.add(tmp_path / name, name)
            (tmp_path / name).unlink()
    data = (tmp_path / "whole.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(data[:3000])
    (tmp_path / "text.tar").write_text("no tar", encoding="utf-8")
    found = [url.removeprefix(f"{tmp_path}/") for url in urls(tmp_path)]
    assert found == ["cut.tar::one.mp4", "cut.tar", "text.tar", "whole.tar::one.mp4", "whole.tar::two.mp4"]
    with (
        pytest.raises(MediaError, match="cannot be read to its end as a tar"),
        open_source(part(f"{tmp_path}/cut.tar")),
    ):
        pass
    with pytest.raises(ConfigError, match=r"text\.tar cannot be read as a tar: .*compressed"):
        listed(tmp_path / "text.tar")


def test_the_runs_own_shards_are_no_sources(tmp_path: Path) -> None:
    (tmp_path / "run" / "clips").mkdir(parents=True)
    for name in ("a.mp4", "run/clips/b.mp4"):
        (tmp_path / name).write_bytes(b"x")
    for source in (tmp_path, f"{tmp_path}/**"):
        assert urls(source, tmp_path / "run") == [f"{tmp_path}/a.mp4"]
    assert urls(tmp_path / "run", tmp_path / "run") == [f"{tmp_path}/run/clips/b.mp4"]


def test_the_runs_own_shards_are_no_sources_under_other_names_of_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    (data / "clips" / "shards").mkdir(parents=True)
    for name in ("a.mp4", "clips/dataset.json", "clips/shards/b.mp4"):
        (data / name).write_bytes(b"x")
    (tmp_path / "link").symlink_to(data)
    monkeypatch.chdir(data)
    for source in (data, "../data", f"{tmp_path}/link", f"{data}/**", f"{data}/**/*.mp4"):
        assert [url.rpartition("/")[2] for url in urls(source, data)] == ["a.mp4"], source
    for source in (tmp_path, "..", f"{tmp_path}/link/.."):
        with pytest.raises(ConfigError, match="no video at"):
            urls(source, data)
    assert urls("*.mp4", data) == ["a.mp4"]


def test_odd_types_of_columns(tmp_path: Path) -> None:
    """Numbers and truths as they are, all else as text, and what is no number as missing."""
    day = dt.date(2024, 1, 2)
    table = {
        "URL": pa.array([b"a.mp4", b"b.mp4"]),
        "big": pa.array([2**63 - 1, None], pa.uint64()),
        "inf": [float("inf"), float("nan")],
        "day": [day, None],
        "bytes": [b"caf\xc3\xa9", None],
        "list": [[1, 2], None],
        "none": pa.nulls(2),
        "dict": pa.array(["x", None]).dictionary_encode(),
        "code": pa.array([7, None]).dictionary_encode(),
    }
    pa.parquet.write_table(pa.table(table), tmp_path / "t.parquet")
    found = listed(tmp_path / "t.parquet")
    first, second = found.videos
    assert [first.url, second.url] == ["a.mp4", "b.mp4"]
    values = {"big": 2**63 - 1, "inf": None, "day": "2024-01-02", "bytes": "café", "list": "[1, 2]", "none": None}
    assert first.passthrough == {**values, "dict": "x", "code": 7}
    assert set(second.passthrough.values()) == {None}
    kinds = {name: str(kind) for name, kind in found.columns.items()}
    assert (kinds["big"], kinds["inf"], kinds["day"], kinds["code"]) == ("int64", "float64", "string", "int64")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"url,a,a\nv.mp4,1,2\n", "has more than one column 'a': rename"),
        (b"url,My Col,my_col\nv.mp4,1,2\n", "its columns 'My Col', 'my_col' would all be called my_col"),
        (b"url,who\nv.mp4,caf\xe9\n", "column who is no UTF-8 text"),
        (b"url,x\n", "has no rows"),
        (b"url,x\nv.mp4,1\n,2\n", "has a row without url: .*'x': 2"),
        (b"link\nv.mp4\n", "has no url column"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(text)
    with pytest.raises(ConfigError, match=message):
        listed(tmp_path / "t.csv")


def test_a_number_that_is_too_large(tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table({"url": ["a.mp4"], "id": pa.array([2**63], pa.uint64())}), tmp_path / "t.parquet")
    with pytest.raises(ConfigError, match="column id is too large"):
        listed(tmp_path / "t.parquet")


def test_text_of_a_csv_stays_as_it_is(tmp_path: Path) -> None:
    """Names of digits are no numbers, times keep their form, and a caption may have lines, also in a large file."""
    caption = "a long\ncaption " * 40
    row = f'007.mp4,0012,12345678901234567890,2024-01-02T10:20:30.123456789Z,1.50,-3,true,"{caption}"\n'
    (tmp_path / "t.csv").write_text(
        "url,id,big,at,score,n,yes,text\n" + row + row.replace("007", "008") * 3000, "utf-8"
    )
    found = listed(tmp_path / "t.csv")
    assert [video.url for video in found.videos] == ["007.mp4", "008.mp4"]
    assert found.videos[0].passthrough == {
        "id": "0012",
        "big": "12345678901234567890",
        "at": "2024-01-02T10:20:30.123456789Z",
        "score": 1.5,
        "n": -3,
        "yes": True,
        "text": caption,
    }
    (tmp_path / "t.csv").write_text("path\n007\n", encoding="utf-8")
    assert urls(tmp_path / "t.csv") == ["007"]


def test_nested_columns_and_nanoseconds(tmp_path: Path) -> None:
    table = {
        "url": ["a.mp4"],
        "tags": [{"é": [1, 2]}],
        "at": pa.array([1_700_000_000_123_456_789], pa.timestamp("ns")),
    }
    pa.parquet.write_table(pa.table(table), tmp_path / "t.parquet")
    (video,) = listed(tmp_path / "t.parquet").videos
    assert video.passthrough == {"tags": '{"é": [1, 2]}', "at": "2023-11-14 22:13:20.123456789"}
    pa.parquet.write_table(pa.table({"url": [["a.mp4"]]}), tmp_path / "t.parquet")
    with pytest.raises(ConfigError, match=r"column url holds list<.*> *, and must hold one url a row"):
        listed(tmp_path / "t.parquet")


def test_one_video_by_many_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place counts once, by the first name that it has."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(b"x")
    with tarfile.open(tmp_path / "in" / "b.tar", "w") as tar:
        tar.add(tmp_path / "in" / "a.mp4", "a/../a.mp4")
    monkeypatch.chdir(tmp_path)
    names = ["in", "./in/", f"{tmp_path}/in/*", f"file://{tmp_path}/in", "in/../in/a.mp4", "./in/b.tar"]
    assert [video.url for video in list_sources(names, root="/nowhere").videos] == ["in/a.mp4", "in/b.tar::a/../a.mp4"]


def test_a_table_that_names_a_video_twice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "t.csv").write_text("url,x\na.mp4,1\na.mp4,1\n./a.mp4,2\n", encoding="utf-8")
    (video,) = listed(tmp_path / "t.csv").videos
    assert (video.url, video.passthrough) == ("a.mp4", {"x": 1})
    assert "1 rows of" in caplog.text
    assert "with other values" in caplog.text


def test_hidden_members_of_tars(tmp_path: Path) -> None:
    """Such as macOS puts beside each file."""
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for name in ("./a.mp4", "./._a.mp4", ".trash/b.mp4", "../c.mp4"):
            tar.addfile(tarfile.TarInfo(name))
    assert [url.partition("::")[2] for url in urls(tmp_path)] == ["./a.mp4", "../c.mp4"]


class Denied(LocalFileSystem):
    """Raises what no one else does, as botocore does without credentials."""

    protocol = "denied"

    def info(self, path: str, **_options: Any) -> dict[str, Any]:
        raise RuntimeError(f"no credentials for {path}")


def test_a_backend_with_errors_of_its_own(tmp_path: Path) -> None:
    fsspec.register_implementation("denied", Denied, clobber=True)
    with pytest.raises(
        ConfigError, match=r"cut\.sources: cannot list denied://x/\*\.mp4: RuntimeError: no credentials for"
    ):
        listed("denied://x/*.mp4")
    (tmp_path / "t.txt").write_text("denied://x/a.mp4\n", encoding="utf-8")
    (video,) = listed(tmp_path / "t.txt").videos
    assert (video.url, video.etag, times_reader()(video)) == ("denied://x/a.mp4", None, None)
    with (
        pytest.raises(MediaError, match=r"cannot open denied://x/a\.mp4: no credentials for"),
        open_source(part(video.url)),
    ):
        pass


def test_lists_end_lines_as_text_does(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("a\x85b.mp4\rc.mp4\r\nd\u2028.mp4".encode())
    assert urls(tmp_path / "a.txt") == ["a\x85b.mp4", "c.mp4", "d\u2028.mp4"]
    (tmp_path / "a.txt").write_bytes(b"caf\xe9.mp4\n")
    with pytest.raises(ConfigError, match=r"the list \S*a\.txt is no UTF-8 text"):
        listed(tmp_path / "a.txt")


@pytest.mark.parametrize("source", ["", " "])
def test_an_empty_name_is_refused(source: str) -> None:
    with pytest.raises(ConfigError, match="an empty name"):
        listed(source)


def test_a_folder_inside_of_a_file_is_refused_and_one_video_is_not(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as out:
        out.writestr("a.mp4", b"video")
    inside = f"{tmp_path}/all.zip"
    for text in (f"zip://*.mp4::{inside}", f"zip://::{inside}"):
        with pytest.raises(ConfigError, match="inside of another file, whose videos cannot be named"):
            list_sources([text], root="/nowhere")
    (video,) = list_sources([f"zip://a.mp4::{inside}"], root="/nowhere").videos
    assert (video.url, video.size) == (f"zip://a.mp4::{inside}", 5)


def test_a_second_listing_in_one_process_is_a_fresh_one() -> None:
    with counted({"/fresh/a.mp4": b"one"}):
        fs = fsspec.filesystem("counted", use_listings_cache=False)
        assert locate("counted://fresh")[0] is fs
        assert len(list_sources(["counted://fresh"], root="/nowhere").videos) == 1
