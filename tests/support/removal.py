"""What must hold after a takedown: no byte of the removed clips anywhere, all others there once, as they were."""

import gc
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import webdataset
from support.runs import rows_of

from shardpipe.engine.verifying.verify import verify
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.members import read_member
from shardpipe.storage.store import Store, open_store

CHUNK = 64


@dataclass(frozen=True)
class Media:
    """The mp4 and the other members of each clip of a Dataset, by key and extension."""

    files: Mapping[str, Mapping[str, bytes]]

    def only_of(self, keys: Iterable[str]) -> set[bytes]:
        """All chunks of these clips' files that no other clip has."""
        gone = set(keys)
        others = b"\0".join(data for key, files in self.files.items() if key not in gone for data in files.values())
        mine = [data for key in gone for data in self.files[key].values()]
        chunks = {data[i : i + CHUNK] for data in mine for i in range(0, len(data) - CHUNK + 1, CHUNK)}
        return {chunk for chunk in chunks if chunk not in others and chunk.strip(b"\0")}


def media_of(store: Store, name: str) -> Media:
    """The files of all kept clips, as the Dataset's own pass would see them."""
    found = {}
    for key, row in rows_of(store, name).items():
        if row["kept"]:
            mp4 = store.read_range(row["shard"], row["offset"], row["size"])
            found[key] = {"mp4": mp4, **{ext: read_member(store, place) for ext, place in row["members"].items()}}
    return Media(found)


def check_gone(store: Store, media: Media, keys: Iterable[str]) -> None:
    """No object has a byte of these clips."""
    chunks = media.only_of(keys)
    assert len(chunks) >= 10, len(chunks)
    for path in store.list(""):
        data = store.read(path)
        assert not [chunk for chunk in chunks if chunk in data], path


def check_rest(store: Store, before: Mapping[str, Media], keys: Iterable[str]) -> None:
    """Verify has no problem; each Dataset has all clips of before but these, the same bytes; loaders give them once."""
    gone = set(keys)
    problems = [str(problem) for problem in verify(store.url).problems]
    assert not problems, problems
    for name, media in before.items():
        now = media_of(store, name)
        assert now.files == {key: files for key, files in media.files.items() if key not in gone}
        rows = rows_of(store, name)
        masked = [row for key, row in rows.items() if key in gone]
        assert {(row["kept"], row["dropped_by"], row["error"], row["shard"]) for row in masked} <= {
            (False, "removed", None, None)
        }
        if Dataset.open(store, name).info.emit == "shards":
            read = loaded(store, name)
            assert read == {key: files["mp4"] for key, files in now.files.items()}


def loaded(store: Store, name: str) -> dict[str, bytes]:
    """What webdataset reads from the shards of urls.txt: mp4 by key, each once; and the same by brace range and of all tars."""
    with tempfile.TemporaryDirectory() as fetched:
        if store.local_path(name) is not None:
            return _loaded(Path(store.url) / name)
        for path in store.list(name):
            (Path(fetched) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(fetched) / path).write_bytes(store.read(path))
        return _loaded(Path(fetched) / name)


def _loaded(folder: Path) -> dict[str, bytes]:
    urls = [str(folder / line) for line in (folder / "urls.txt").read_text().split()]
    every = [str(path) for path in sorted((folder / "shards").glob("*.tar"))]
    assert set(urls) <= set(every)
    found: list[dict[str, bytes]] = []
    for tars in (urls, every):
        samples = list(webdataset.WebDataset(tars, shardshuffle=False, empty_check=False)) if tars else []
        gc.collect()  # webdataset leaves its files to the collector
        found.append({sample["__key__"]: sample["mp4"] for sample in samples})
        assert len(found[-1]) == len(samples)
    assert found[0] == found[1]
    return found[0]


def base_samples(root: Path) -> list[str]:
    """The keys that webdataset finds in the tars of `cut`."""
    tars = [str(path) for path in sorted((root / "clips/shards").glob("*.tar"))]
    keys = [sample["__key__"] for sample in webdataset.WebDataset(tars, shardshuffle=False)]
    gc.collect()
    return keys


def reopened(root: Path) -> Store:
    """The store as another process opens it."""
    return open_store(str(root))
