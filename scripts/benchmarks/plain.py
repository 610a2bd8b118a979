"""The plain loop that a worker's decoders are measured against: read a clip, sample its frames, nothing else."""

import time

from fakes import Sleeper

from shardpipe.media.sample import sample
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.store import open_store


def decode_share(root: str, rank: int, world: int) -> tuple[float, float, int]:
    """(begin, end, clips) of every `world`-th clip of ROOT/clips."""
    store = open_store(root, read_only=True)
    view = Dataset.open(store, "clips").next_view()
    rows = [row for unit in view.units() for row in view.fold(unit).rows if row["kept"]]
    requests = Sleeper().frame_requests
    began = time.monotonic()
    for row in rows[rank::world]:
        sample(store.read_range(row["shard"], row["offset"], row["size"]), requests)
    return began, time.monotonic(), len(rows[rank::world])
