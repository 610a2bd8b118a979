"""What a store honours, found out by a few requests under `_run/probe/`: AWS does all of it, Ceph 16 ignores the condition on
completions, some servers ignore every condition and answer 200, and most other file systems have none.

    _run/store.json    {"conditional_put": true, ...}   what the last run found, for `status`
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, cast
from uuid import uuid4

from shardpipe.core.errors import ConfigError, ShardpipeError, StoreError
from shardpipe.core.fingerprint import canonical_json
from shardpipe.storage.backend import Backend, Head, TransientError
from shardpipe.storage.store import RUN, Honours, Store

if TYPE_CHECKING:
    from shardpipe.storage.s3 import S3Backend  # half a second of imports, for those who only read

PROBES = f"{RUN}/probe"
LATE_S = 60.0
"""Half of what a heartbeat may be old."""

FOUND = f"{RUN}/store.json"


def probe(backend: Backend, root: str, *, url: str) -> Honours:
    """What the backend keeps to at this root; ConfigError where nothing can be written there, conditions are refused, or drivers
    cannot be told apart by the times of objects.
    """
    if backend.honours is not None:
        return backend.honours
    folder = f"{root}/{PROBES}/{uuid4().hex}"
    one, two = f"{folder}/put", f"{folder}/complete"
    began_s = time.monotonic()
    try:
        put = _second_is_refused(backend, one, backend.create) and backend.can_create
        complete, written = False, {one}
        if backend.protocol == "s3":
            complete, written = (
                _second_is_refused(backend, two, cast("S3Backend", backend).complete_if_absent),
                {one, two},
            )
        shown = {key for key, _ in backend.list(f"{folder}/")} == written
        head = backend.head(one)
    except TransientError:
        raise
    except (StoreError, FileNotFoundError) as error:
        raise ConfigError(f"nothing can be written in {url}: {error}") from error
    finally:
        _forget(backend, one, two)
    _check_clock(head, time.monotonic() - began_s, url=url)
    return Honours(put, complete, shown)


def _check_clock(head: Head | None, took_s: float, *, url: str) -> None:
    """By their age heartbeats are those of the living. head: of an object that was written within the last `took_s`."""
    if head is None:
        raise TransientError("what the probe wrote is gone")
    if head.age_s is None:
        raise ConfigError(f"{url} cannot be a root that is written: the store tells not when an object was written")
    if (ahead_s := head.age_s - took_s) > LATE_S:
        raise ConfigError(
            f"the clock of this machine is {ahead_s:.0f} s ahead of {url}, so that living drivers would count as dead: "
            "set both by NTP"
        )


def _second_is_refused(backend: Backend, key: str, write: Callable[[str, bytes], None]) -> bool:
    """Whether an object stays what it was first made when it is made again on condition that it is absent."""
    for data in (b"first", b"second"):
        try:
            write(key, data)
        except FileExistsError:
            break
    try:
        return backend.get(key) == b"first"
    except FileNotFoundError as error:
        raise TransientError(f"{key} was written, and is gone: {error}") from error


def _forget(backend: Backend, *keys: str) -> None:
    for key in keys:
        try:
            backend.delete(key)
        except (ShardpipeError, FileNotFoundError):
            continue  # `doctor` finds it


def note_honours(store: Store, honours: Honours) -> None:
    """Leave what was found, for those who only read."""
    store.replace(FOUND, canonical_json(asdict(honours)))


def known_honours(store: Store) -> Honours | None:
    """What the store keeps to, as far as that is known without writing: by what it is, or as the last run found; else None."""
    if store.honours is not None:
        return store.honours
    try:
        return Honours(**json.loads(store.read(FOUND)))
    except (FileNotFoundError, ValueError, TypeError):
        return None
