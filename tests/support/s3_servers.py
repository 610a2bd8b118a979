"""Real S3 servers for tests: moto, which knows AWS's conditions, and Ceph, which has real keys, processes and concurrency."""

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import botocore.session
from botocore.config import Config

Kind = Literal["moto", "ceph"]
KINDS: tuple[Kind, ...] = ("moto", "ceph")
REGION = "us-east-1"
PROCESS = Path(__file__).with_name("s3_process.py")
CEPH_ENV = Path(__file__).parents[2] / "scripts" / "ceph_env"
DELETE_AT_ONCE = 1000
CEPH_ENV_S = 900
START_S = 500


class NoServerError(Exception):
    """The server cannot be had on this machine; the message says why."""


@dataclass(frozen=True)
class S3Server:
    """How a server is reached, by this process and by those that it starts."""

    kind: Kind
    endpoint: str
    access_key: str
    secret_key: str

    @property
    def environment(self) -> dict[str, str]:
        """The usual AWS variables: all that shardpipe is told of a server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": REGION,
        }

    @cached_property
    def client(self) -> Any:
        """A client of botocore's own, for what tests do behind shardpipe's back."""
        session = botocore.session.Session()
        session.set_credentials(self.access_key, self.secret_key)
        options = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 3}, max_pool_connections=16)
        return session.create_client("s3", endpoint_url=self.endpoint, region_name=REGION, config=options)

    def at(self, endpoint: str) -> "S3Server":
        """The same, reached by another way."""
        return replace(self, endpoint=endpoint)


@dataclass(frozen=True)
class S3Root:
    """A folder of a bucket, and what lies there, seen past shardpipe."""

    server: S3Server
    bucket: str
    prefix: str = "root"

    @property
    def url(self) -> str:
        """As a config names it."""
        return f"s3://{self.bucket}/{self.prefix}"

    def key(self, path: str) -> str:
        """The name of an object in the bucket."""
        return f"{self.prefix}/{path}" if self.prefix else path

    def under(self, name: str) -> "S3Root":
        """A folder in this one."""
        return replace(self, prefix=self.key(name))

    def sizes(self) -> dict[str, int]:
        """Every object, as path from here to bytes, sorted."""
        pages = self.server.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.key(""))
        found = {each["Key"]: each["Size"] for page in pages for each in page.get("Contents", [])}
        return {key.removeprefix(self.key("")): size for key, size in sorted(found.items())}

    def read(self, path: str) -> bytes:
        """One object."""
        body: bytes = self.server.client.get_object(Bucket=self.bucket, Key=self.key(path))["Body"].read()
        return body

    def write(self, path: str, data: bytes) -> None:
        """One object, whatever was there."""
        self.server.client.put_object(Bucket=self.bucket, Key=self.key(path), Body=data)

    def delete(self, path: str) -> None:
        """One object."""
        self.server.client.delete_object(Bucket=self.bucket, Key=self.key(path))

    def objects(self) -> dict[str, bytes]:
        """Every object with its bytes, sorted."""
        paths = list(self.sizes())
        with ThreadPoolExecutor(8) as pool:
            return dict(zip(paths, pool.map(self.read, paths), strict=True))

    def uploads(self) -> dict[str, str]:
        """Multipart uploads that are neither completed nor aborted: id to path from here."""
        pages = self.server.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket)
        found = {each["UploadId"]: each["Key"] for page in pages for each in page.get("Uploads", [])}
        start = self.key("")
        return {upload: key.removeprefix(start) for upload, key in found.items() if key.startswith(start)}

    def copy_to(self, other: "S3Root") -> None:
        """Lay every object of this root under another of the same server, without its bytes passing here."""

        def copy(path: str) -> None:
            source = {"Bucket": self.bucket, "Key": self.key(path)}
            other.server.client.copy_object(Bucket=other.bucket, Key=other.key(path), CopySource=source)

        _ = other.server.client  # made by one thread
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(copy, self.sizes()))

    def clear_bucket(self) -> None:
        """Remove every object and unfinished upload of the bucket: a server in memory keeps what tests leave."""
        client, whole = self.server.client, replace(self, prefix="")
        for upload, key in whole.uploads().items():
            client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload)
        keys = [{"Key": key} for key in whole.sizes()]
        for i in range(0, len(keys), DELETE_AT_ONCE):
            some = {"Objects": keys[i : i + DELETE_AT_ONCE], "Quiet": True}
            client.delete_objects(Bucket=self.bucket, Delete=some)


def new_root(server: S3Server) -> S3Root:
    """An empty folder in a bucket of its own."""
    root = S3Root(server, f"test-{uuid4().hex[:20]}")
    server.client.create_bucket(Bucket=root.bucket)
    return root


def start(kind: Kind, folder: Path, owner: int) -> S3Server:
    """The server of this kind that serves `folder` (an absolute one, that processes may share), for as long as the process
    `owner` lives. Who comes first starts it; NoServerError if it cannot be had.
    """
    path = folder / f"{kind}.json"
    with _locked(folder / f"{kind}.lock"):
        why_not = path.with_suffix(".none")
        if why_not.exists():
            raise NoServerError(why_not.read_text())
        if not path.exists():
            try:
                program = [str(ceph_folder())] if kind == "ceph" else []
            except NoServerError as error:
                why_not.write_text(str(error))
                raise
            log = path.with_suffix(".log")
            with log.open("wb") as out:
                command = [sys.executable, str(PROCESS), kind, str(folder), str(owner), *program]
                done = subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False, timeout=START_S
                )
            if done.returncode:
                raise RuntimeError(f"{kind} did not start: {log.read_text()[-3000:]}")
        return S3Server(kind, **_text(json.loads(path.read_text())))


def ceph_folder() -> Path:
    """Where the programs of Ceph lie; made by the first call on a machine. NoServerError if they cannot be had."""
    done = subprocess.run([CEPH_ENV], capture_output=True, text=True, check=False, timeout=CEPH_ENV_S)
    if done.returncode:
        raise NoServerError(done.stderr.strip().splitlines()[-1])
    return Path(done.stdout.strip())


def _text(found: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in found.items()}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
