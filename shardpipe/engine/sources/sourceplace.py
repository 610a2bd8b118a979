"""Where a raw video lies: one place for all the ways in which its url may be written, and the file system that has it."""

import os
import re
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

MEMBER = re.compile(r"(?is)(.+?\.tar)::")


def place(url: str, container: str | None) -> str:
    """Where a video lies, whichever way its url is written: `a.mp4`, `./a.mp4` and `file:///.../a.mp4` are one."""
    outer = container or url
    if not is_local(outer):
        return url
    path = str(LocalFileSystem._strip_protocol(outer))  # noqa: SLF001  what it does to every path
    if "/../" in path and "\0" not in path:  # a link may lie before it
        folder, name = os.path.split(path)
        path = f"{os.path.realpath(folder)}/{name}"
    return os.path.normpath(path) + url[len(outer) :]


def locate(url: str) -> tuple[Any, str]:
    """The fsspec file system of a url, and the path in it. What has no `://` is a local path, whatever its characters."""
    if "://" not in url:
        return LocalFileSystem(), LocalFileSystem._strip_protocol(url)  # noqa: SLF001  fsspec has no public form
    found: tuple[Any, str] = url_to_fs(url, use_listings_cache=False)
    return found


def is_local(url: str) -> bool:
    """Whether a url is a path of this machine."""
    return "://" not in url or url.startswith("file://")


def source_place(url: str) -> str:
    """The place of a video of which only the url is known: `a.tar::b.mp4` is a member of a tar."""
    match = MEMBER.match(url)
    return place(url, match[1] if match else None)
