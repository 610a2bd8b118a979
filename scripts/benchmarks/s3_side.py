"""One side of the benchmark of S3, in a process of its own: `SIDE ROOT [ARGUMENT ...]` prints what it took as JSON.

serve    a Ceph (here ROOT is a folder)
make     2 MiB clips of random bytes in ROOT/clips
get-*    the media that ROOT/all is emitted from: as emit reads it, by s3fs's cat_ranges, by concurrent GETs
put-*    the files of FOLDER under ROOT/put: as a store puts them, by s3fs, by a multipart upload made by hand
fetch    the shards of ROOT/all to FOLDER           drop PREFIX  what lies below ROOT/PREFIX
"""

import asyncio
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import s3fs
import xxhash
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from support.s3_servers import NoServerError, new_root, start
from support.tiny_dataset import make_clips

from shardpipe.engine.emission.emit import Emitter
from shardpipe.engine.emission.shardmedia import ShardMedia
from shardpipe.engine.emission.window import read_windows
from shardpipe.storage.dataset import Row
from shardpipe.storage.metered import MeteredStore
from shardpipe.storage.ranges import join_ranges
from shardpipe.storage.store import open_store
from shardpipe.storage.tar import Buffer, Packed, TarWriter

Client = Any  # botocore makes its clients as it goes

CLIP_BYTES = 2 << 20
UNIT_CLIPS = 64
CONNECTIONS = 64
GETS, GET_BYTES = 4, 16 << 20
PARTS, PART_BYTES = 4, 16 << 20
HELD_BYTES = 128 << 20
"""So much of cat_ranges is asked for at once: it holds all that it gives."""


class HashOnly(TarWriter):
    """Takes a shard's clips and checks them as a tar writer does, but writes nothing."""

    def __init__(self) -> None:
        pass

    def add_pieces(self, name: str, size: int, pieces: Iterable[Buffer]) -> Packed:  # noqa: ARG002
        """Hash them."""
        quick = xxhash.xxh3_128()
        for piece in pieces:
            quick.update(piece)
        return Packed(0, size, quick.hexdigest())


def planned(root: str) -> list[list[Row]]:
    """The clips of each shard of ROOT/all, with the places of their mp4s."""
    store = open_store(root)
    emitter = Emitter(store, "all")
    windows = read_windows(store, "all")
    return [emitter.rows(unit) for window in windows for unit in window.shard_units]


def s3() -> s3fs.S3FileSystem:
    """s3fs with as many connections as help."""
    return s3fs.S3FileSystem(use_listings_cache=False, config_kwargs={"max_pool_connections": CONNECTIONS})


class Took:
    """A span of this process: `as_dict` once it is over. Clients are made, and have asked once, before it begins."""

    def __enter__(self) -> Self:
        self._began = time.monotonic(), time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        wall_s, cpu_s = self._began
        self.as_dict = {"wall_s": time.monotonic() - wall_s, "cpu_s": time.process_time() - cpu_s}


def with_client(work: Callable[[Client], Coroutine[Any, Any, None]]) -> dict[str, float]:
    """What it took to do something with a client of aiobotocore, tuned; it checks what it sends and gets as ours does."""
    config = AioConfig(max_pool_connections=CONNECTIONS, s3={"addressing_style": "path"})

    async def go() -> dict[str, float]:
        async with get_session().create_client("s3", config=config) as client:
            await client.list_buckets()
            with Took() as took:
                await work(client)
            return took.as_dict

    return asyncio.run(go())


async def in_turns(todo: Iterator[Awaitable[object]], at_once: int) -> None:
    """Do all of these, so many at once."""

    async def some() -> None:
        for each in todo:
            await each

    await asyncio.gather(*(some() for _ in range(at_once)))


def make(root: str, num_bytes: str) -> None:
    """The clips."""
    noise = random.Random(0).randbytes(CLIP_BYTES)
    count = int(num_bytes) // CLIP_BYTES
    keys = [f"clip_{i:06d}" for i in range(count)]
    units = {f"{i // UNIT_CLIPS:06d}": keys[i : i + UNIT_CLIPS] for i in range(0, count, UNIT_CLIPS)}
    make_clips(open_store(root), units, payload=lambda key: key.encode() + noise[len(key) :])


def get_ours(root: str) -> dict[str, float]:
    """Emit's reads, checked."""
    store, shards = MeteredStore(open_store(root)), planned(root)

    store.size("nothing")
    with Took() as took:
        for rows in shards:
            with ShardMedia(store, rows, ("mp4",)) as media:
                for i in range(len(rows)):
                    media.copy_clip(HashOnly(), i)
    return took.as_dict


def get_cat(root: str) -> dict[str, float]:
    """cat_ranges of the clips."""
    fs, rows = s3(), [row for rows in planned(root) for row in rows]
    at_once = HELD_BYTES // CLIP_BYTES

    fs.exists(root)
    with Took() as took:
        for i in range(0, len(rows), at_once):
            some = rows[i : i + at_once]
            paths = [f"{root}/{row['shard']}" for row in some]
            starts, ends = [row["offset"] for row in some], [row["offset"] + row["size"] for row in some]
            fs.cat_ranges(paths, starts, ends, on_error="raise")
    return took.as_dict


def get_hand(root: str) -> dict[str, float]:
    """The same bytes by large GETs."""
    bucket, _, prefix = root.removeprefix("s3://").partition("/")
    by_tar: dict[str, list[tuple[int, int]]] = {}
    for row in [row for rows in planned(root) for row in rows]:
        by_tar.setdefault(row["shard"], []).append((row["offset"], row["size"]))

    async def get(client: Client, path: str, start: int, length: int) -> None:
        where = {"Bucket": bucket, "Key": f"{prefix}/{path}", "Range": f"bytes={start}-{start + length - 1}"}
        async with (await client.get_object(**where))["Body"] as body:
            await body.read()

    async def work(client: Client) -> None:
        reads = ((path, read) for path, places in by_tar.items() for read in join_ranges(places, max_bytes=GET_BYTES))
        await in_turns((get(client, path, read.start, read.length) for path, read in reads), GETS)

    return with_client(work)


def put_ours(root: str, folder: Path) -> dict[str, float]:
    """A store's own puts; of links, since it consumes what it puts."""
    store, links = open_store(f"{root}/put"), folder / "links"
    shutil.rmtree(links, ignore_errors=True)
    links.mkdir()
    files = sorted(folder.glob("*.tar"))
    for path in files:
        os.link(path, links / path.name)

    store.size("nothing")
    with Took() as took:
        for path in files:
            store.put_file(path.name, links / path.name)
    return took.as_dict


def put_s3fs(root: str, folder: Path) -> dict[str, float]:
    """put_file of s3fs, tuned."""
    fs, files = s3(), sorted(folder.glob("*.tar"))

    fs.exists(root)
    with Took() as took:
        for path in files:
            fs.put_file(str(path), f"{root}/put/{path.name}", chunksize=PART_BYTES, max_concurrency=PARTS)
    return took.as_dict


def put_hand(root: str, folder: Path) -> dict[str, float]:
    """A plain multipart upload."""
    bucket, _, prefix = root.removeprefix("s3://").partition("/")

    async def put(client: Client, name: str, fd: int) -> None:
        where = {"Bucket": bucket, "Key": f"{prefix}/put/{name}"}
        upload = (await client.create_multipart_upload(**where))["UploadId"]
        parts: list[dict[str, Any]] = []

        async def part(number: int, start: int) -> None:
            data = os.pread(fd, PART_BYTES, start)
            answer = await client.upload_part(**where, UploadId=upload, PartNumber=number, Body=data)
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})

        starts = range(0, os.fstat(fd).st_size, PART_BYTES)
        await in_turns((part(i, start) for i, start in enumerate(starts, 1)), PARTS)
        whole = {"Parts": sorted(parts, key=lambda each: int(each["PartNumber"]))}
        await client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload=whole)

    fds = {path.name: os.open(path, os.O_RDONLY) for path in sorted(folder.glob("*.tar"))}

    async def work(client: Client) -> None:
        for name, fd in fds.items():
            await put(client, name, fd)

    return with_client(work)


def serve(folder: Path, owner: int) -> dict[str, str]:
    """How a Ceph is reached that lives as long as the process `owner`, and an empty root in it; or why there is none."""
    try:
        server = start("ceph", folder, owner)
    except NoServerError as error:
        return {"why": str(error)}
    return {"url": new_root(server).url, **server.environment}


def drop(root: str, *prefixes: str) -> None:
    """Delete what lies below these."""
    store = open_store(root)
    for prefix in prefixes:
        for path in store.list(prefix):
            store.delete(path)


def fetch(root: str, folder: Path) -> None:
    """The shards of ROOT/all as local files."""
    folder.mkdir(exist_ok=True)
    store = open_store(root)
    for path, num_bytes in store.list("all/shards").items():
        if path.endswith(".tar"):
            with (folder / Path(path).name).open("wb") as file:
                for start in range(0, num_bytes, GET_BYTES):
                    file.write(store.read_range(path, start, min(GET_BYTES, num_bytes - start)))


GET_SIDES = {"get-ours": get_ours, "get-cat": get_cat, "get-hand": get_hand}
PUT_SIDES = {"put-ours": put_ours, "put-s3fs": put_s3fs, "put-hand": put_hand}


def main(side: str, root: str, *rest: str) -> None:
    """Do one side."""
    if side == "serve":
        print(json.dumps(serve(Path(root), int(*rest))))
    elif side == "make":
        make(root, *rest)
    elif side == "drop":
        drop(root, *rest)
    elif side == "fetch":
        fetch(root, Path(*rest))
    else:
        print(json.dumps(GET_SIDES[side](root) if side in GET_SIDES else PUT_SIDES[side](root, Path(*rest))))


if __name__ == "__main__":
    main(*sys.argv[1:])
