"""Captions that lie beside raw videos, as files of one stem or as members of the same tar: `cut.captions`.

    {txt: text_raw}                                   the whole of clip1.txt beside clip1.mp4
    {json: {caption: text_raw, meta.title: title}}    keys of clip1.json; a dot goes into a mapping, or by number into a list

They are read once, when a batch of sources is made, and become passthrough columns: texts, null where there is no file, no such key,
or nothing in it. A file that is broken (no Unicode, no JSON, a value that is no text, over 1 MB) counts as none and is told of: it
costs a caption, never the clip. A store that cannot be read is an error: a caption that is there must not be taken for none.
"""

import json
import logging
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from shardpipe.core.columns import ColumnType, string
from shardpipe.core.errors import ConfigError
from shardpipe.engine.sources.sourceplace import locate
from shardpipe.engine.sources.sources import LOOK_THREADS, Found, Listing

Files = Mapping[str, str | Mapping[str, str]]
"""As the config has them: extension to a column, or to keys and their columns."""

MAX_BYTES = 10**6
AT_ONCE = 256
"""So many videos' files are asked for together."""

ABSENT = (FileNotFoundError, NotADirectoryError)
HTTP_ABSENT = frozenset({403, 404, 410})
"""What web servers, and buckets behind them, say of a file that is not there."""

QUERY = re.compile("[?#]")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Ask:
    """One file of captions: of the video at `index`, in a file system, between two bytes."""

    index: int
    ext: str
    label: str
    fs: Any
    path: str
    start: int
    end: int

    def data(self) -> bytes:
        """What is there."""
        return bytes(self.fs.cat_file(self.path, start=self.start, end=self.end))


class _BrokenError(Exception):
    """A file from which no caption can be taken."""


def caption_columns(files: Files, others: Mapping[str, ColumnType], where: str) -> dict[str, ColumnType]:
    """The columns that these files give; raises ConfigError, naming `where`, for one that a table of sources has too."""
    columns = _columns(files)
    if twice := [name for name in columns if name in others]:
        raise ConfigError(
            f"cut.captions: {where} has a column {twice[0]} too: give the texts beside the videos another name"
        )
    return dict.fromkeys(columns, string)


def with_captions(listing: Listing, files: Files) -> Listing:
    """A listing with the captions beside its videos; raises ConfigError where there is not one."""
    if not files:
        return listing
    videos, told, num_texts = _read_all(listing.videos, files)
    if not num_texts:
        raise ConfigError(f"cut.captions: no caption was found: {told}. Check extensions, keys and the files' names")
    _warn(told)
    return replace(listing, videos=videos)


def read_captions(videos: Sequence[Found], files: Files) -> list[Found]:
    """The videos with their captions, which may be none; a warning where some are missing or broken."""
    found, told, _ = _read_all(videos, files)
    _warn(told)
    return found


def _warn(told: str) -> None:
    if told:
        log.warning("cut.captions: %s", told)


def _read_all(videos: Sequence[Found], files: Files) -> tuple[list[Found], str, int]:
    """The videos with their captions, what is to be told of those that lack one, and the number of captions."""
    counts = dict.fromkeys(_columns(files), 0)
    found: list[Found] = []
    broken: list[str] = []
    for start in range(0, len(videos), AT_ONCE):
        some = videos[start : start + AT_ONCE]
        texts: list[dict[str, str]] = [{} for _ in some]
        seen: set[tuple[int, str]] = set()
        for in_capitals in (False, True):  # clip1.TXT counts where there is no clip1.txt
            asks = [ask for i, video in enumerate(some) for ask in _asks(i, video, files, in_capitals=in_capitals)]
            for ask, data in _read([ask for ask in asks if (ask.index, ask.ext) not in seen]):
                seen.add((ask.index, ask.ext))
                taken, fault = _taken(data, files[ask.ext])
                texts[ask.index] |= taken
                if fault:
                    broken.append(f"{ask.label}: {fault}")
        for video, text in zip(some, texts, strict=True):
            found.append(replace(video, passthrough={**video.passthrough, **text}))
            for name in text:
                counts[name] += 1
    told = ""
    if broken or any(count < len(videos) for count in counts.values()):
        told = ", ".join(f"{count:,} of {len(videos):,} videos have a {name}" for name, count in counts.items())
    if broken:
        told += f"; broken files, which count as none: {len(broken):,} (the first: {broken[0]})"
    return found, told, sum(counts.values())


def _columns(files: Files) -> list[str]:
    return [name for wanted in files.values() for name in ([wanted] if isinstance(wanted, str) else wanted.values())]


def _asks(index: int, video: Found, files: Files, *, in_capitals: bool) -> Iterator[_Ask]:
    """The files to be read of one video, their extensions as the config has them or in capitals; without what a listing has not seen."""
    for ext in files:
        spelt = ext.upper() if in_capitals else ext
        is_there = "://" not in video.url if video.beside is None else spelt in video.beside
        if in_capitals and (spelt in files or not is_there):  # far stores are not asked twice
            continue
        if video.beside is not None and not is_there:
            continue
        place = None if video.beside is None else video.beside[spelt]
        url = text_url(video.url, spelt)
        found = _located(url if place is None else str(video.container))
        if found is not None:
            first, size = place or (0, MAX_BYTES + 1)
            label = url if place is None else f"the .{spelt} of {video.url}"
            yield _Ask(index, ext, label, *found, first, first + min(size, MAX_BYTES + 1))


def _located(url: str) -> tuple[Any, str] | None:
    """The file system and path of a url; None where it leads nowhere: the cut meets its video, and tells it."""
    try:
        return locate(url)
    except Exception:  # noqa: BLE001  each backend has its own errors
        return None


def text_url(video: str, ext: str) -> str:
    """The url of the text beside a video: of the same stem, which ends at the last dot of its name; without a query."""
    name, chain, outer = video.partition("::") if "://" in video else (video, "", "")
    if name.startswith(("http://", "https://")):
        name = QUERY.split(name, maxsplit=1)[0]
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.rpartition('.')[0] or base}.{ext}{chain}{outer}"


def _read(asks: Sequence[_Ask]) -> Iterator[tuple[_Ask, bytes | _BrokenError]]:
    """The bytes of those files that are there, together for each store; ConfigError where a store cannot be read."""
    by_store: dict[int, list[_Ask]] = {}
    for ask in asks:
        by_store.setdefault(id(ask.fs), []).append(ask)
    for some in by_store.values():
        fs = some[0].fs
        if getattr(fs, "async_impl", False):
            ranges = ([each.path for each in some], [each.start for each in some], [each.end for each in some])
            found = fs.cat_ranges(*ranges, on_error="return")
        else:
            with ThreadPoolExecutor(LOOK_THREADS) as pool:
                found = list(pool.map(_read_one, some))
        for ask, data in zip(some, found, strict=True):
            got = data if isinstance(data, bytes | _BrokenError) else _again(ask, data)
            if got is not None:
                yield ask, got


def _read_one(ask: _Ask) -> bytes | Exception:
    try:
        is_file = not isinstance(ask.fs, LocalFileSystem) or ask.fs.info(ask.path)["type"] == "file"
        return ask.data() if is_file else _BrokenError("no file")  # a pipe would be waited for
    except Exception as error:  # noqa: BLE001  each backend has its own
        return error


def _again(ask: _Ask, error: Exception) -> bytes | None:
    """Once more what could not be read; None for what is not there. An empty file has no range, and some stores say so by an error."""
    try:
        if isinstance(error, ABSENT) or getattr(error, "status", None) in HTTP_ABSENT:
            return None
        return b"" if ask.fs.info(ask.path).get("size") == 0 else ask.data()
    except ABSENT:
        return None
    except Exception as again:
        raise ConfigError(
            f"cut.captions: {ask.label} cannot be read ({type(again).__name__}: {again}), and a caption that is there must not "
            "count as none: see that it can be read, or take it away, and run again"
        ) from again


def _taken(data: bytes | _BrokenError, wanted: str | Mapping[str, str]) -> tuple[dict[str, str], str]:
    """The texts of a file by column, those that it has, and what is wrong with it, or with one of them; empty for nothing."""
    texts, fault = {}, ""
    try:
        for name, value in _values(data, wanted).items():
            try:
                if text := _text(name, value):
                    texts[name] = text
            except _BrokenError as error:
                fault = fault or str(error)
    except _BrokenError as error:
        fault = str(error)
    return texts, fault


def _values(data: bytes | _BrokenError, wanted: str | Mapping[str, str]) -> dict[str, object]:
    """What a file has for each column."""
    if isinstance(data, _BrokenError):
        raise data
    if len(data) > MAX_BYTES:
        raise _BrokenError("over 1 MB")
    try:
        text = data.decode("utf-16" if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig")
    except UnicodeDecodeError:
        raise _BrokenError("no UTF-8 text") from None
    if isinstance(wanted, str):
        return {wanted: text}
    try:
        parsed = json.loads(text) if text.strip() else None
    except (ValueError, RecursionError) as error:
        raise _BrokenError(f"no JSON: {error}") from None
    return {name: _at(parsed, key) for key, name in wanted.items()}


def _at(value: object, key: str) -> object:
    """What a parsed JSON has under a key, or under a path of keys and numbers with dots between them; None where it has nothing."""
    if isinstance(value, dict) and key in value:
        return value[key]
    first, dot, rest = key.partition(".")
    if isinstance(value, list) and first.isdecimal() and int(first) < len(value):
        inner: object = value[int(first)]
    elif isinstance(value, dict) and dot:
        inner = value.get(first)
    else:
        return None
    return _at(inner, rest) if dot else inner


def _text(name: str, value: object) -> str:
    """A value as a caption: its lines end in LF, with no white space around it; empty for none."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _BrokenError(f"what is to be {name} is no text but {type(value).__name__}")
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise _BrokenError(f"what is to be {name} is no Unicode text")
    return value.replace("\r\n", "\n").replace("\r", "\n").strip()
