"""Finding raw videos: a folder or prefix, a glob, a list file, a CSV or Parquet with a url column, tars of videos.

Nothing is opened here but lists and tars' headers. The order is that of the text, within a folder or glob by name, so
that the unit list does not depend on how a store lists, and within a list or tar its own. A url is as the user wrote it,
and what was found below.
"""

import logging
import os
import re
import tarfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from shardpipe.core.columns import ColumnType
from shardpipe.core.errors import ConfigError
from shardpipe.core.secrets import clean_cause
from shardpipe.engine.sources.sourcefetch import open_headers
from shardpipe.engine.sources.sourceplace import is_local, locate, place
from shardpipe.engine.sources.sourcetable import read_table, refuse_secrets

SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm", ".m2ts", ".ts", ".m4v", ".mpg", ".flv", ".wmv"})
WILD = re.compile(r"[*?\[]")
LOOK_THREADS = 16
"""So many files that a list names are looked at at once: a remote store takes its time for each."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """One raw video: a file, or (size at `offset`) a member of the tar `container`.

    `etag` identifies its content: the store's etag, or its size and modification time. `beside`: by extension the texts that lie
    beside it, each with its offset and size in the container, or None for a file of its own; None where nobody has looked yet.
    """

    url: str
    size: int | None
    etag: str | None
    container: str | None = None
    offset: int = 0
    passthrough: dict[str, Any] = field(default_factory=dict)
    beside: Mapping[str, tuple[int, int] | None] | None = None


@dataclass(frozen=True)
class Listing:
    """All videos that a `sources:` text names, each place once, and the types of their passthrough columns."""

    videos: list[Found]
    columns: dict[str, ColumnType]


def list_sources(
    sources: Sequence[str], *, root: str, where: str = "cut.sources", texts: Collection[str] = ()
) -> Listing:
    """Find the videos; raises ConfigError, which names `where`, for a source that is not there, cannot be read, or has no video.

    What lies below `root` (a store's url) is passed over in folders: the run's own shards are no sources. texts: the extensions of
    texts to be noted beside the videos, of one stem with them, also in capitals.
    """
    found: dict[str, Found] = {}
    columns: dict[str, ColumnType] = {}
    texts = {*texts, *(ext.upper() for ext in texts)}
    for text in sources:
        try:
            kinds, videos = _list_one(text, root, texts)
        except ConfigError as exc:
            raise ConfigError(f"{where}: {exc}") from None
        except Exception as exc:  # noqa: BLE001  each backend has its own errors (OSError, Arrow's, botocore's, aiohttp's)
            raised = "" if isinstance(exc, OSError | ValueError) else f"{type(exc).__name__}: "
            raise ConfigError(f"{where}: cannot list {text}: {raised}{exc}") from clean_cause(exc)
        for name, kind in kinds.items():
            if columns.setdefault(name, kind) != kind:
                raise ConfigError(f"{where}: column {name} is {columns[name]} in one list and {kind} in {text}")
        first = [found.setdefault(place(video.url, video.container), video) for video in videos]
        again = [b.url for a, b in zip(first, videos, strict=True) if b.passthrough and a.passthrough != b.passthrough]
        if again:
            told = "%s: %d rows of %s name a video once more with other values, and do not count (the first: %s)"
            log.warning(told, where, len(again), text, again[0])
    return Listing(list(found.values()), columns)


def _refuse_chain(text: str) -> None:
    """ConfigError for a folder or glob inside of another file: what lies there has no url of its own that fsspec would open."""
    if "::" in text and "://" in text:
        raise ConfigError(
            f"{text} is a folder or glob inside of another file, whose videos cannot be named: unpack it, or give a tar as it is (x.tar), "
            "or a list of single videos (zip://a.mp4::x.zip)"
        )


def identity_of(info: dict[str, Any]) -> str | None:
    """What tells whether a file was replaced: the store's etag, else size and modification time; None if it says neither."""
    if etag := info.get("ETag") or info.get("etag"):
        return str(etag).strip('"')
    moment = info.get("mtime") or info.get("LastModified") or info.get("created")
    moment = moment.timestamp() if isinstance(moment, datetime) else moment  # a listing may give the number of it
    return None if moment is None else f"{info.get('size')}-{moment}"


def _list_one(text: str, root: str, texts: Collection[str]) -> tuple[dict[str, ColumnType], list[Found]]:
    if not text.strip():
        raise ConfigError("an empty name; give a folder, a glob, a list or a video")
    refuse_secrets([text], text)
    fs, path = locate(text)
    suffix = PurePosixPath(path).suffix.lower()
    if WILD.search(text) and not fs.exists(path):
        _refuse_chain(text)
        return {}, _some(text, _below(fs, text, fs.glob(path, detail=True), root, texts, is_glob=True))
    if fs.isdir(path):
        _refuse_chain(text)
        return {}, _some(text, _below(fs, text, fs.find(path, detail=True), root, texts, is_glob=False))
    if not fs.exists(path):
        raise ConfigError(f"{text} does not exist")
    if suffix == ".tar":
        return {}, _some(text, _all_members(text, texts))
    if suffix in (".csv", ".parquet"):
        with fs.open(path, "rb") as file:
            table = read_table(file, text, is_csv=suffix == ".csv")
        rows = zip(_files([url for url, _ in table.rows], text), table.rows, strict=True)
        return table.columns, [replace(video, passthrough=extra) for video, (_, extra) in rows]
    if suffix in (".txt", ".list", ".lst"):
        with fs.open(path, "rb") as file:
            urls = lines_of(file.read(), text)
        if not urls:
            raise ConfigError(f"the list {text} names no video")
        return {}, _files(urls, text)
    return {}, [_file(text)]


def lines_of(data: bytes, name: str) -> list[str]:
    """The lines of a list that are neither empty nor comments; raises ConfigError, which calls it `name`."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ConfigError(f"the list {name} is no UTF-8 text: save it as such ({exc})") from exc
    lines = (line.strip() for line in text.replace("\r", "\n").split("\n"))
    return [line for line in lines if line and not line.startswith("#")]


def _some(text: str, videos: list[Found]) -> list[Found]:
    if not videos:
        raise ConfigError(f"no video at {text} (looked for {' '.join(sorted(SUFFIXES))}, any case)")
    refuse_secrets([video.url for video in videos], text)  # a web server may list links that carry some
    return videos


def _below(
    fs: Any,  # noqa: ANN401  an fsspec file system
    text: str,
    infos: dict[str, dict[str, Any]],
    root: str,
    texts: Collection[str],
    *,
    is_glob: bool,
) -> list[Found]:
    """The videos among `infos`, by name; tars among them give their members. Hidden files and folders are passed over."""
    fixed = None if is_glob else text.rstrip("/")
    top = fs._strip_protocol(fixed).rstrip("/") if fixed is not None else None  # noqa: SLF001  fsspec has no public form
    passed_over = _own_folders(fs, text, infos, root, is_glob=is_glob)
    found: list[Found] = []
    for path in sorted(infos):
        info = infos[path]
        inner = path[len(top) + 1 :] if top is not None else path.rsplit("/", 1)[-1]
        if info.get("type") == "directory" or _is_hidden(inner):
            continue
        if path.startswith(passed_over):
            continue
        url = _unicode(f"{fixed}/{inner}" if fixed is not None else _like(fs, text, path))
        suffix = PurePosixPath(path).suffix.lower()
        if suffix == ".tar":
            found += _members_or_error(url, info, texts)
        elif suffix in SUFFIXES:
            # of a link a listing tells of itself, and what counts is the file that it leads to
            video = _file(url) if info.get("islink") else Found(url, info.get("size"), identity_of(info))
            stem = path[: -len(suffix)]
            there = None if is_glob else {ext: None for ext in texts if f"{stem}.{ext}" in infos}
            found.append(replace(video, beside=there))
    return found


def _own_folders(fs: Any, text: str, infos: Iterable[str], root: str, *, is_glob: bool) -> tuple[str, ...]:  # noqa: ANN401
    """Where in a listing the run's own objects lie: below its root, or in the root's Datasets if that is what is listed."""
    if is_local(root) != is_local(text):
        return ()
    folder = WILD.split(text, 1)[0].rpartition("/")[0] or text[:1].strip("*?[") if is_glob else text
    base = locate(folder)[1].rstrip("/")
    here, own = (os.path.realpath(path) if is_local(root) else path for path in (base, locate(root)[1].rstrip("/")))
    if own.startswith(f"{here.rstrip('/')}/"):
        return (f"{base}/{own[len(here.rstrip('/')) + 1 :]}/",)
    if own != here:
        return ()
    names = {path[len(base) + 1 :].partition("/")[0] for path in infos}
    return tuple(f"{base}/{name}/" for name in sorted(names) if fs.exists(f"{base}/{name}/dataset.json"))


def _unicode(url: str) -> str:
    r"""`url`, with the bytes of a file name that are no UTF-8 written as \xe9: such a video becomes an error row."""
    return os.fsencode(url).decode("utf-8", "backslashreplace")


def _like(fs: Any, text: str, path: str) -> str:  # noqa: ANN401
    """The url of `path`, relative where the user's glob was relative."""
    if "://" in text:
        return str(fs.unstrip_protocol(path))
    head = text.split("*", 1)[0].split("?", 1)[0].split("[", 1)[0].rsplit("/", 1)[0] if "/" in text else ""
    base = fs._strip_protocol(head or ".").rstrip("/")  # noqa: SLF001
    inner = path[len(base) + 1 :]
    return f"{head}/{inner}" if head else inner


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") and part not in (".", "..") for part in path.split("/"))


def _files(urls: Sequence[str], name: str) -> list[Found]:
    refuse_secrets(urls, name)
    with ThreadPoolExecutor(LOOK_THREADS) as pool:
        return list(pool.map(_file, urls))


def _file(url: str) -> Found:
    """A video that a list names; one that cannot be seen stays in the list, and becomes an error row."""
    try:
        fs, path = locate(url)
        info = fs.info(path)
    except Exception:  # noqa: BLE001  each backend has its own errors; the cut meets this one again, and tells it
        return Found(url, None, None)
    return Found(url, info.get("size"), identity_of(info))


def _members(url: str, texts: Collection[str]) -> tuple[list[Found], Exception | None]:
    """The videos of a tar, each with the texts beside it, as far as the tar can be read; and what was in the way, if anything."""
    videos: dict[str, Found] = {}
    places: dict[str, tuple[int, int]] = {}
    endings = tuple(f".{ext}" for ext in texts)
    error: Exception | None = None
    try:
        fs, path = locate(url)
        info = fs.info(path)
        etag = identity_of(info)
        with open_headers(fs, path, url, info) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                name, at, size = member.name, member.offset_data, member.size
                if not member.isfile() or _is_hidden(name):
                    continue
                if PurePosixPath(name).suffix.lower() in SUFFIXES:
                    videos.setdefault(name, Found(_unicode(f"{url}::{name}"), size, etag, container=url, offset=at))
                elif name.endswith(endings):
                    places.setdefault(name, (at, size))
    except Exception as raised:  # noqa: BLE001  each backend has its own errors; who asks tells it, or the cut does
        error = raised
    return [replace(video, beside=_beside(name, places, texts)) for name, video in videos.items()], error


def _beside(
    name: str, places: Mapping[str, tuple[int, int]], texts: Collection[str]
) -> dict[str, tuple[int, int] | None]:
    """The texts of a video's stem in its tar, else those of its key, which ends at the first dot, as WebDataset has it."""
    folder, slash, base = name.rpartition("/")
    stems = [f"{folder}{slash}{stem}" for stem in (base.rpartition(".")[0], base.partition(".")[0])]
    found = {ext: next((places[at] for stem in stems if (at := f"{stem}.{ext}") in places), None) for ext in texts}
    return {ext: place for ext, place in found.items() if place is not None}


def _all_members(url: str, texts: Collection[str]) -> list[Found]:
    """The videos of a tar that can be read to its end."""
    videos, error = _members(url, texts)
    if isinstance(error, tarfile.TarError):
        raise ConfigError(f"{url} cannot be read as a tar: {error} (compressed ones are not taken)") from error
    if error is not None:
        raise error
    return videos


def _members_or_error(url: str, info: dict[str, Any], texts: Collection[str]) -> list[Found]:
    """The videos of a tar; one that cannot be read, or not to its end, gives itself as well and becomes an error row."""
    videos, error = _members(url, texts)
    return videos if error is None else [*videos, Found(url, info.get("size"), identity_of(info))]
