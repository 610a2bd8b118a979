"""The plain loops that a worker's decoders are measured against: read a clip, sample its frames, nothing else."""

import time

import numpy as np
from fakes import Sleeper

from shardpipe.core.frames import FrameRequest
from shardpipe.engine.passes.clipmedia import MediaSource
from shardpipe.media.sample import sample
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.metered import MeteredStore
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


def frames_share(dataset: tuple[str, str], num_stills: int, request: FrameRequest, rank: int, world: int) -> int:
    """How many clips: every `world`-th of (root, name), decoded or, with `num_stills`, from its cached frames."""
    root, name = dataset
    store = MeteredStore(open_store(root, read_only=True))
    view = Dataset.open(store, name).next_view()
    rows = [row for unit in view.units() for row in view.fold(unit).rows if row["kept"]][rank::world]
    source = MediaSource(store, num_stills=num_stills)
    for row in rows:
        source.of(row, [request]).ask()().frames([request], lambda shape: np.empty(shape, np.uint8))
    return len(rows)
