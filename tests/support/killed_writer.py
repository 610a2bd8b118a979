"""A process that commits to a local store as fast as it can, to be killed. Each object says what it must be.

An object is a line of 64 hex digits and a payload of which they are the sha256. It prints the number of each pair that it
has committed. Run: ROOT FIRST_NUMBER.
"""

import hashlib
import os
import sys

from shardpipe.storage.store import open_store


def payload(n: int) -> bytes:
    return (f"{n} ".encode() * 40_000)[: 1 + n * 7919 % 200_000]


def whole(n: int) -> bytes:
    body = payload(n)
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def is_whole(data: bytes) -> bool:
    return len(data) > 65 and hashlib.sha256(data[65:]).hexdigest().encode() == data[:64]


def main(root: str, n: int) -> None:
    store = open_store(root)
    scratch = store.scratch()
    print(f"ready {os.getpid()}", flush=True)
    while True:
        store.create(f"rows/{n:06d}", whole(n))
        file = scratch / f"{n}.tar"
        file.write_bytes(whole(n + 1))
        store.put_file(f"shards/{n:06d}", file)
        print(n, flush=True)
        n += 1


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
