"""A driver on a store that is shared by requests alone: it finds out what the store honours, says that it lives, and is alone
where nothing else keeps two apart.

One that was not heard for long (the machine slept, the store was out of reach) counts as dead, and another may have started
since: so it looks around once it is heard again, and ends where it is not alone.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from uuid import uuid4

from shardpipe.core.errors import ConfigError, ShardpipeError, StoreError
from shardpipe.storage.drivers import BEAT_S, DEAD_AFTER_S, beat, beat_path, in_words, live_drivers, this_driver
from shardpipe.storage.probe import note_honours
from shardpipe.storage.store import Store

log = logging.getLogger(__name__)
WORLD = ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_ARRAY_TASK_COUNT", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
"""Where torchrun, Slurm (srun and arrays) and MPI say how many processes they started."""

SILENT_S = DEAD_AFTER_S / 2
END_S = 10.0
"""So long the end of a run waits for a store that does not answer."""

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
    heart = _Heart(store, is_alone=not honours.conditional_put)
    heart.beat()  # before it looks: of two that start at once, each sees the other or one does
    try:
        if not honours.conditional_put:
            _be_alone(store, heart.own_id)
    except BaseException:
        heart.end()
        raise
    with heart.beating():
        yield


class _Heart:
    """The heartbeats of one driver. is_alone: it ends the run where another one lives after a silence."""

    def __init__(self, store: Store, *, is_alone: bool) -> None:
        self.own_id = uuid4().hex
        self._store = store
        self._is_alone = is_alone
        self._started_s = time.monotonic()
        self._heard_s = time.time()  # other clocks stand still while a machine sleeps
        self._stop = threading.Event()
        self._ended: Future[None] = Future()
        self._others = ""

    def beat(self) -> None:
        """Leave one, and look around if the last one is long ago."""
        began_s = time.time()
        beat(self._store, this_driver(self.own_id, time.monotonic() - self._started_s))
        if self._is_alone and time.time() - self._heard_s > SILENT_S:
            self._others = in_words([each for each in live_drivers(self._store) if each.id != self.own_id])
        self._heard_s = began_s

    def end(self) -> None:
        """No more of them."""
        try:
            self._store.delete(beat_path(self.own_id))
        except ShardpipeError as error:
            log.debug("a heartbeat stays, and counts as that of a dead driver soon: %s", error)

    @contextmanager
    def beating(self) -> Iterator[None]:
        """One every BEAT_S in a thread, until what is done meanwhile ends. StoreError where another driver was found."""
        in_main = threading.current_thread() is threading.main_thread()
        thread = threading.Thread(target=self._beat_on, args=(in_main,), daemon=True)
        thread.start()
        try:
            yield
        except KeyboardInterrupt:
            if not self._others:
                raise
        finally:
            self._stop.set()
            with suppress(TimeoutError):
                self._ended.result(timeout=END_S)
        if self._others:
            raise StoreError(
                f"this driver was not heard of in {self._store.url} for more than {SILENT_S:.0f} s, and another one lives there "
                f"since: {self._others}. Nothing keeps the two apart, so that this one ended: run `shardpipe verify` "
                "once the other has ended"
            )

    def _beat_on(self, in_main: bool) -> None:  # noqa: FBT001  a thread's arguments
        while not self._others and not self._stop.wait(BEAT_S):
            try:
                self.beat()
            except Exception as error:  # noqa: BLE001  a heart that stops is that of a dead driver
                log.warning("no heartbeat could be left: %s", error)
        if self._others and in_main and not self._stop.is_set():
            _interrupt_main()
        self._stop.wait()
        try:
            self.end()
        except BaseException as error:  # noqa: BLE001  for who waits for the end
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)


def _interrupt_main() -> None:
    """As Ctrl-C does, which is ignored in what a script started with `&`."""
    heard = [each for each in (signal.SIGINT, signal.SIGTERM) if callable(signal.getsignal(each))]
    if heard:
        signal.pthread_kill(threading.main_thread().ident or 0, heard[0])


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
