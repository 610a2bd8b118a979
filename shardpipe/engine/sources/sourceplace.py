"""The place of a raw video of which no more than the url is known."""

import re

from shardpipe.engine.sources.sources import place

MEMBER = re.compile(r"(?is)(.+?\.tar)::")


def source_place(url: str) -> str:
    """The place of a video of which only the url is known: `a.tar::b.mp4` is a member of a tar."""
    match = MEMBER.match(url)
    return place(url, match[1] if match else None)
