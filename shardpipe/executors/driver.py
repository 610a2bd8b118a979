"""A driver on a store that is shared by requests alone: it finds out what the store honours, says that it lives, and is alone
where nothing else keeps two apart.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from shardpipe.core.errors import ConfigError, StoreError
from shardpipe.storage.drivers import BEAT_S, beat, beat_path, in_words, live_drivers, this_driver
from shardpipe.storage.probe import note_honours
from shardpipe.storage.store import Store

log = logging.getLogger(__name__)
WORLD = ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_ARRAY_TASK_COUNT", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
"""Where torchrun, Slurm (srun and arrays) and MPI say how many processes they started."""

INDEX = "JOB_COMPLETION_INDEX"
"""Where Kubernetes says which of the pods of an indexed job this is; of how many it does not say."""


@contextmanager
def driving(store: Store) -> Iterator[None]:
    """Be a driver of this root; ConfigError where nothing can be written there, or where another one may not be beside.

    A store that is known to keep to everything (a local disk) needs none of it.
    """
    if store.honours is not None:
        yield
        return
    honours = store.probe()
    note_honours(store, honours)
    started_s = time.monotonic()
    own_id = uuid4().hex
    beat(store, this_driver(own_id, 0.0))  # before it looks: of two that start at once, each sees the other or one does
    stop = threading.Event()
    thread = threading.Thread(target=_beat_on, args=(store, own_id, started_s, stop), daemon=True)
    try:
        if not honours.conditional_put:
            _be_alone(store, own_id)
        thread.start()
        yield
    finally:
        stop.set()
        if thread.ident is not None:
            thread.join()
        _end(store, own_id)


def _beat_on(store: Store, own_id: str, started_s: float, stop: threading.Event) -> None:
    while not stop.wait(BEAT_S):
        try:
            beat(store, this_driver(own_id, time.monotonic() - started_s))
        except StoreError as error:
            log.warning("no heartbeat could be left: %s", error)


def _end(store: Store, own_id: str) -> None:
    try:
        store.delete(beat_path(own_id))
    except StoreError as error:
        log.debug("a heartbeat stays, and counts as that of a dead driver soon: %s", error)


def _be_alone(store: Store, own_id: str) -> None:
    ignores = f"{store.url} ignores conditional writes (If-None-Match), so that nothing keeps two drivers apart"
    for name in WORLD:
        world = os.environ.get(name, "")
        if world.isdigit() and int(world) > 1:
            raise ConfigError(
                f"{ignores}: a world of {world} ({name}) is refused. Run one driver, with as many workers as you like"
            )
    if os.environ.get(INDEX, "0") != "0":
        raise ConfigError(
            f"{ignores}: pod {os.environ[INDEX]} of an indexed job ({INDEX}) is refused. Run one driver, with as many workers as you like"
        )
    others = [driver for driver in live_drivers(store) if driver.id != own_id]
    if others:
        raise ConfigError(
            f"{ignores}, and another driver lives there: {in_words(others)}. Wait for its end; one that was killed counts as "
            "dead 120 s after it was last heard"
        )
