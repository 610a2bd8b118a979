"""Names of objects, each pattern once: of a Dataset's final objects, relative to it, and of what looks like shardpipe's in a root."""

import re

NUMBERED = r"(\.\d{4,})?"
"""Behind the stem of a final object that came with a later window."""

INDEX_NAME = re.compile(r"index(\.(?P<number>\d{4,}))?\.parquet\Z")
BESIDE_NAME = re.compile(rf"(urls{NUMBERED}\.txt|wids{NUMBERED}\.json|README\.md)\Z")
ENERGON_NAME = re.compile(r"\.nv-meta/.+\Z")
"""What `energon prepare` makes of a Dataset, in place."""

OURS = re.compile(
    rf"[a-z0-9_-]+/((rows|plan|emit|sources)/.+\.parquet|(shards|members)/.+\.tar(\.idx)?|index{NUMBERED}\.parquet|wids{NUMBERED}\.json)\Z"
)
"""Of objects of a root; urls.txt and README.md may be anybody's."""
