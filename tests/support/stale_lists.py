"""Listings as they were: what a bucket held at earlier requests, and the answer to LIST out of it."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

MAX_KEYS = 1000


@dataclass(frozen=True)
class Listed:
    """One object of a listing, its fields as the server wrote them."""

    size: str
    etag: str
    modified: str


def parse(page: bytes) -> tuple[dict[str, Listed], str | None]:
    """The objects of an answer to ListObjectsV2 without encoding-type, and the token of the next page."""
    root = ET.fromstring(page)  # noqa: S314  the test's own server wrote it
    name = root.tag.removesuffix("ListBucketResult")
    found = {
        str(each.findtext(f"{name}Key")): Listed(
            str(each.findtext(f"{name}Size")),
            str(each.findtext(f"{name}ETag")),
            str(each.findtext(f"{name}LastModified")),
        )
        for each in root.iter(f"{name}Contents")
    }
    return found, root.findtext(f"{name}NextContinuationToken")


class History:
    """What a bucket held after each write: at request number n, at a time in seconds."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._times: list[float] = []
        self._states: list[dict[str, Listed]] = []

    def add(self, n: int, when: float, objects: dict[str, Listed]) -> None:
        """A later state than all before."""
        self._numbers.append(n)
        self._times.append(when)
        self._states.append(objects)

    def before(self, n: int, when: float) -> dict[str, Listed]:
        """The newest state that is no newer than request n, nor than that time; the oldest one if none is so old."""
        newest = min(bisect_right(self._numbers, n), bisect_right(self._times, when)) - 1
        return self._states[max(0, newest)]


def answer(bucket: str, objects: Mapping[str, Listed], query: Mapping[str, str]) -> bytes:
    """The answer to ListObjects, of either version."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    is_second = query.get("list-type") == "2"
    after = query.get("continuation-token") or query.get("start-after" if is_second else "marker") or ""
    most = int(query.get("max-keys", MAX_KEYS))
    is_quoted = query.get("encoding-type") == "url"

    def name(key: str) -> str:
        return quote(key, safe="/") if is_quoted else escape(key)

    entries: dict[str, str] = {}
    for key in sorted(objects):
        if not key.startswith(prefix):
            continue
        head, found, _ = key.removeprefix(prefix).partition(delimiter) if delimiter else (key, "", "")
        group = f"{prefix}{head}{found}"
        if found:
            entries[group] = f"<CommonPrefixes><Prefix>{name(group)}</Prefix></CommonPrefixes>"
        else:
            one = objects[key]
            entries[key] = (
                f"<Contents><Key>{name(key)}</Key><LastModified>{one.modified}</LastModified><ETag>{escape(one.etag)}</ETag>"
                f"<Size>{one.size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            )
    left = [key for key in sorted(entries) if key > after]
    page = left[:most]
    parts = [f"<Name>{bucket}</Name>", f"<Prefix>{name(prefix)}</Prefix>", f"<MaxKeys>{most}</MaxKeys>"]
    parts += [f"<Delimiter>{name(delimiter)}</Delimiter>"] if delimiter else []
    parts += ["<EncodingType>url</EncodingType>"] if is_quoted else []
    parts += [f"<KeyCount>{len(page)}</KeyCount>"] if is_second else [f"<Marker>{name(after)}</Marker>"]
    parts += [f"<IsTruncated>{str(len(left) > most).lower()}</IsTruncated>"]
    if len(left) > most:
        tag = "NextContinuationToken" if is_second else "NextMarker"
        parts.append(f"<{tag}>{escape(page[-1]) if is_second else name(page[-1])}</{tag}>")
    parts += [entries[key] for key in page]
    inside = "".join(parts)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inside}</ListBucketResult>'
    ).encode()
