"""How many clips of a root are removed: of the rows of `clips`, those that the list names. Only rows of their videos are read."""

from collections.abc import Iterator

from shardpipe.config.models import CLIPS
from shardpipe.core.clip import video_id
from shardpipe.engine.cutting.batches import read_batches
from shardpipe.engine.known import Known
from shardpipe.storage.dataset import Dataset, Layer
from shardpipe.storage.parallel import in_order, num_readers
from shardpipe.storage.removed import Removed
from shardpipe.storage.rows import decode_rows


def num_removed(known: Known) -> int:
    """The clips that were cut and are on the list, whether their media is gone already or not."""
    store, removed = known.store, Removed(known.store)
    if not removed or store.size(f"{CLIPS}/dataset.json") is None:
        return 0
    done = known.done(Layer(store, Dataset.open(store, CLIPS).info, "rows"))
    paths = [done[unit] for unit in dict.fromkeys(_units(known, removed)) if unit in done]

    def count(path: str) -> int:
        table, _ = decode_rows(store.read(path), f"{store.url}/{path}", only={"key", "source"})
        pairs = zip(table.column("key").to_pylist(), table.column("source").to_pylist(), strict=True)
        return sum(removed.has(key, source) for key, source in pairs)

    return sum(counted.result() for _, counted in in_order(paths, count, at_once=num_readers(store)))


def _units(known: Known, removed: Removed) -> Iterator[str]:
    """The units that have a part of a video of which something is removed."""
    videos = {*removed.keys, *(key.rpartition("_")[0] for key in removed.keys), *map(video_id, removed.sources)}
    for batch in read_batches(known.store, CLIPS):
        pairs = zip(batch.column("url").to_pylist(), batch.column("unit").to_pylist(), strict=True)
        yield from (unit for url, unit in pairs if video_id(url) in videos)
