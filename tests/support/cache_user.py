"""A process that uses a file cache: `python cache_user.py FOLDER LIMIT LOG KEY BYTES SECONDS`, which a fetch takes; it is noted in LOG.

It says `fetching` and `have PATH` (or `have None`), checks the bytes, and ends when it is told.
"""

import sys
import time
from pathlib import Path

from shardpipe.core.filecache import CacheSettings, FileCache

folder, limit, log, key, num_bytes, seconds = sys.argv[1:]
DATA = key[:1].encode() * int(num_bytes)


def fetch(path: Path) -> None:
    with Path(log).open("a") as file:
        file.write("x")
    print("fetching", flush=True)
    with path.open("rb+") as file:
        file.write(DATA[: len(DATA) // 2])
        file.flush()
        time.sleep(float(seconds))
        file.write(DATA[len(DATA) // 2 :])


with FileCache(CacheSettings(Path(folder), int(limit))).use(key, int(num_bytes), fetch) as path:
    assert path is None or path.read_bytes() == DATA
    print("have", path, flush=True)
    sys.stdin.readline()
    assert path is None or path.read_bytes() == DATA
