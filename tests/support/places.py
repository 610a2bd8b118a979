"""Places where the roots of a test lie: a local disk, memory, a bucket of a real S3 server, a file system without conditions. What a
test does is the same on all.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, Protocol
from uuid import uuid4

import pytest
from support.s3_fixtures import MakeRoot
from support.s3_servers import KINDS, S3Root

from shardpipe.storage.store import open_store

PlaceKind = Literal["local", "memory", "moto", "ceph", "plain"]
ON_S3 = [pytest.param(kind, marks=pytest.mark.s3) for kind in KINDS]
SLOWLY_ON_S3 = [pytest.param(kind, marks=[pytest.mark.s3, pytest.mark.slow]) for kind in KINDS]
ON_ALL = pytest.mark.parametrize("place", ["local", "memory", *ON_S3], indirect=True)
LOCAL_FIRST = pytest.mark.parametrize("place", ["local", *SLOWLY_ON_S3], indirect=True)
"""In the quick suite on a local disk alone."""


class Place(Protocol):
    """Where roots can be made."""

    kind: PlaceKind

    def root(self, objects: Mapping[str, bytes] | None = None) -> str:
        """The URL of a new root, in which these objects lie as if a run before had left them."""


class LocalPlace:
    """Roots in a folder."""

    kind: PlaceKind = "local"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def root(self, objects: Mapping[str, bytes] | None = None) -> str:
        """See Place."""
        root = self._folder / f"root-{uuid4().hex[:8]}"
        for path, data in (objects or {}).items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        return str(root)


class MemoryPlace:
    """Roots in the memory of this process."""

    kind: PlaceKind = "memory"

    def root(self, objects: Mapping[str, bytes] | None = None) -> str:
        """See Place."""
        url = f"memory://{uuid4().hex}/root"
        store = open_store(url)
        for path, data in (objects or {}).items():
            store.create(path, data)
        return url


class PlainPlace:
    """Roots on `local://`, which is reached by fsspec's plain calls, as any file system is of which nothing more is known."""

    kind: PlaceKind = "plain"

    def __init__(self, folder: Path) -> None:
        self._inner = LocalPlace(folder)

    def root(self, objects: Mapping[str, bytes] | None = None) -> str:
        """See Place."""
        return f"local://{self._inner.root(objects)}"


class S3Place:
    """Roots in a bucket: folders beside that one. `s3` is the bucket, seen past shardpipe."""

    def __init__(self, s3: S3Root) -> None:
        self.kind: PlaceKind = s3.server.kind
        self.s3 = s3

    def root(self, objects: Mapping[str, bytes] | None = None) -> str:
        """See Place."""
        own = self.s3.under(uuid4().hex[:8])
        _ = own.server.client  # made by one thread
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(own.write, objects or (), (objects or {}).values()))
        return own.url

    def seen(self, url: str) -> S3Root:
        """A root that `root` gave, past shardpipe."""
        return self.s3.under(url.rpartition("/")[2])


def place_of(kind: PlaceKind, folder: Path, s3_root: MakeRoot) -> Place:
    """The place of this kind; a server that it needs becomes that of the environment."""
    if kind == "local":
        return LocalPlace(folder)
    if kind == "plain":
        return PlainPlace(folder)
    return MemoryPlace() if kind == "memory" else S3Place(s3_root(kind))


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, s3_root: MakeRoot) -> Place:
    """Where the test's roots lie: a local disk, unless the test is parametrized with kinds, `indirect`."""
    return place_of(getattr(request, "param", "local"), tmp_path, s3_root)
