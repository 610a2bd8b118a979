"""Finding raw videos: a folder or prefix, a glob, a list file, a CSV or Parquet with a url column, tars of videos.

Nothing is opened here but lists and tars' headers. The order is that of the text, and within a folder, glob or tar by
name, so that the unit list does not depend on how a store lists. A url is as the user wrote it, and what was found below.
"""

import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from fsspec.core import url_to_fs

from shardpipe.core.clip import CLIP_COLUMNS
from shardpipe.core.columns import NAME, RESERVED, ColumnType, float64, int64, string
from shardpipe.core.columns import bool_ as bool_column
from shardpipe.core.errors import ConfigError

SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm", ".m2ts", ".ts", ".m4v", ".mpg", ".flv", ".wmv"})
URL_COLUMNS = ("url", "path", "video", "file", "filename", "source")
UNIT_LIST = frozenset({"unit", "url", "etag", "container", "part", "start_edge_s", "end_edge_s", "cost"})
"""What a batch of sources says of a video beside its passthrough columns (with `size` and `offset`)."""


@dataclass(frozen=True)
class Found:
    """One raw video: a file, or (size at `offset`) a member of the tar `container`.

    `etag` identifies its content: the store's etag, or its size and modification time.
    """

    url: str
    size: int | None
    etag: str | None
    container: str | None = None
    offset: int = 0
    passthrough: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Listing:
    """All videos that a `sources:` text names, each url once, and the types of their passthrough columns."""

    videos: list[Found]
    columns: dict[str, ColumnType]


def list_sources(sources: Sequence[str]) -> Listing:
    """Find the videos; raises ConfigError for a source that is not there, cannot be read, or has no video."""
    found: dict[str, Found] = {}
    columns: dict[str, ColumnType] = {}
    for text in sources:
        kinds, videos = _list_one(text)
        for name, kind in kinds.items():
            if columns.setdefault(name, kind) != kind:
                raise ConfigError(f"cut.sources: column {name} is {columns[name]} in one list and {kind} in {text}")
        before = len(found)
        for video in videos:
            found.setdefault(video.url, video)
        if len(found) == before and not videos:
            raise ConfigError(f"cut.sources: no video at {text} (looked for {' '.join(sorted(SUFFIXES))}, any case)")
    return Listing(list(found.values()), columns)


def identity_of(info: dict[str, Any]) -> str | None:
    """What tells whether a file was replaced: the store's etag, else size and modification time; None if it says neither."""
    if etag := info.get("ETag") or info.get("etag"):
        return str(etag).strip('"')
    moment = info.get("mtime") or info.get("LastModified") or info.get("created")
    return None if moment is None else f"{info.get('size')}-{moment}"


def _list_one(text: str) -> tuple[dict[str, ColumnType], list[Found]]:
    try:
        fs, path = url_to_fs(text)
        if any(char in text for char in "*?["):
            return {}, _below(fs, text, fs.glob(path, detail=True))
        suffix = PurePosixPath(path).suffix.lower()
        if fs.isdir(path):
            return {}, _below(fs, text, fs.find(path, detail=True))
        if not fs.exists(path):
            raise ConfigError(f"cut.sources: {text} does not exist")
        if suffix == ".tar":
            return {}, list(_members(text))
        if suffix in (".csv", ".parquet"):
            return _table(text, suffix)
        if suffix in (".txt", ".list", ".lst"):
            with fsspec.open(text, "r", encoding="utf-8") as file:
                urls = [line.strip() for line in file if line.strip() and not line.lstrip().startswith("#")]
            return {}, [_file(url) for url in urls]
        return {}, [_file(text)]
    except (OSError, UnicodeDecodeError, ValueError, ImportError, pa.ArrowInvalid) as exc:
        raise ConfigError(f"cut.sources: cannot list {text}: {exc}") from exc


def _below(fs: Any, text: str, infos: dict[str, dict[str, Any]]) -> list[Found]:  # noqa: ANN401  an fsspec file system
    """The videos among `infos`, by name; tars among them give their members. Hidden files and folders are passed over."""
    fixed = text.rstrip("/") if not any(char in text for char in "*?[") else None
    root = fs._strip_protocol(fixed).rstrip("/") if fixed is not None else None  # noqa: SLF001  fsspec has no public form
    found: list[Found] = []
    for path in sorted(infos):
        info = infos[path]
        inner = path[len(root) + 1 :] if root is not None else path.rsplit("/", 1)[-1]
        if info.get("type") == "directory" or any(part.startswith(".") for part in inner.split("/")):
            continue
        url = f"{fixed}/{inner}" if fixed is not None else _like(fs, text, path)
        suffix = PurePosixPath(path).suffix.lower()
        if suffix == ".tar":
            found += _members(url)
        elif suffix in SUFFIXES and info.get("islink"):
            found.append(_file(url))  # a listing tells of the link, and what counts is the file that it leads to
        elif suffix in SUFFIXES:
            found.append(Found(url, info.get("size"), identity_of(info)))
    return found


def _like(fs: Any, text: str, path: str) -> str:  # noqa: ANN401
    """The url of `path`, relative where the user's glob was relative."""
    if "://" in text:
        return str(fs.unstrip_protocol(path))
    head = text.split("*", 1)[0].split("?", 1)[0].split("[", 1)[0].rsplit("/", 1)[0] if "/" in text else ""
    base = fs._strip_protocol(head or ".").rstrip("/")  # noqa: SLF001
    inner = path[len(base) + 1 :]
    return f"{head}/{inner}" if head else inner


def _file(url: str) -> Found:
    """A video that a list names; one that cannot be seen stays in the list, and becomes an error row."""
    try:
        fs, path = url_to_fs(url)
        info = fs.info(path)
    except (OSError, ValueError, ImportError):
        return Found(url, None, None)
    return Found(url, info.get("size"), identity_of(info))


def _members(url: str) -> Iterator[Found]:
    fs, path = url_to_fs(url)
    etag = identity_of(fs.info(path))
    with fs.open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
        for member in tar:
            if member.isfile() and PurePosixPath(member.name).suffix.lower() in SUFFIXES:
                yield Found(f"{url}::{member.name}", member.size, etag, container=url, offset=member.offset_data)


def _table(url: str, suffix: str) -> tuple[dict[str, ColumnType], list[Found]]:
    with fsspec.open(url, "rb") as file:
        if suffix == ".parquet":
            table = pa.parquet.read_table(file)
        else:
            table = pa.csv.read_csv(file, convert_options=pa.csv.ConvertOptions(strings_can_be_null=True))
    by_lower = {name.lower(): name for name in table.column_names}
    column = next((by_lower[name] for name in URL_COLUMNS if name in by_lower), None)
    if column is None:
        raise ConfigError(
            f"cut.sources: {url} has no url column (one of {', '.join(URL_COLUMNS)}); it has {', '.join(table.column_names)}"
        )
    names = {name: _column_name(name) for name in table.column_names if name != column}
    for new, count in Counter(names.values()).items():
        if count > 1:
            alike = ", ".join(old for old in names if names[old] == new)
            raise ConfigError(f"cut.sources: {url} has columns that would all be {new} ({alike}): rename all but one")
    kinds = {new: _kind(table.schema.field(old).type) for old, new in names.items()}
    videos = []
    for row in table.to_pylist():
        if row[column] is None:
            raise ConfigError(f"cut.sources: {url} has a row without {column}: {row!r:.200}")
        video = _file(str(row[column]))
        extra = {new: _cast(kinds[new], row[old]) for old, new in names.items()}
        videos.append(Found(video.url, video.size, video.etag, passthrough=extra))
    return kinds, videos


def _column_name(name: str) -> str:
    """A passthrough column's name: lower case, and `source_...` where the name is one of ours."""
    safe = "".join(char if char.isascii() and (char.isalnum() or char == "_") else "_" for char in name.lower())
    taken = {*CLIP_COLUMNS, *RESERVED, *UNIT_LIST}
    return f"source_{safe}" if safe in taken or not NAME.match(safe) or safe.startswith("_") else safe


def _kind(kind: pa.DataType) -> ColumnType:
    if pa.types.is_boolean(kind):
        return bool_column
    if pa.types.is_integer(kind):
        return int64
    return float64 if pa.types.is_floating(kind) else string


def _cast(kind: ColumnType, value: Any) -> Any:  # noqa: ANN401
    if value is None or (isinstance(value, float) and value != value):  # noqa: PLR0124  NaN is missing
        return None
    return str(value) if kind == string else value
