"""Which drivers live on a root, by the heartbeats that they leave where a store cannot tell itself:

_run/drivers/<id>.json    {"host": "node7", "pid": 4711, "where": "...", "up_s": 340.0}   replaced every BEAT_S
"""

import json
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shardpipe.core.fingerprint import canonical_json
from shardpipe.storage.store import RUN, Store

DRIVERS = f"{RUN}/drivers"
BEAT_S = 20.0
DEAD_AFTER_S = 120.0


@dataclass(frozen=True)
class Driver:
    """One that was alive `age_s` ago, and had been so for `up_s`. `where`: machine, boot and process namespace of its pid."""

    id: str
    host: str
    pid: int
    where: str
    up_s: float
    age_s: float = 0.0

    @property
    def started_s_ago(self) -> float:
        """Seconds since it started, by the store's clock."""
        return self.age_s + self.up_s

    def __str__(self) -> str:
        return f"{self.host}, pid {self.pid} (last heard {self.age_s:.0f} s ago)"


def this_driver(own_id: str, up_s: float) -> Driver:
    """This process."""
    return Driver(own_id, socket.gethostname(), os.getpid(), _here(), up_s)


def beat(store: Store, driver: Driver) -> None:
    """Leave a heartbeat."""
    said = {"host": driver.host, "pid": driver.pid, "where": driver.where, "up_s": driver.up_s}
    store.replace(beat_path(driver.id), canonical_json(said))


def beat_path(driver_id: str) -> str:
    """Where a driver's heartbeats lie."""
    return f"{DRIVERS}/{driver_id}.json"


def live_drivers(store: Store) -> list[Driver]:
    """Those that left a heartbeat lately, and are not known to be dead."""
    return [driver for driver in all_drivers(store) if driver.age_s < DEAD_AFTER_S and not _is_dead(driver)]


def all_drivers(store: Store) -> list[Driver]:
    """Every driver whose heartbeat is there, dead ones too; what is no heartbeat is passed over."""
    found: list[Driver] = []
    for path in store.list(DRIVERS):
        try:
            said = json.loads(store.read(path))
            age_s = store.age_s(path)
            own_id = path.removeprefix(f"{DRIVERS}/").removesuffix(".json")
            parts = (str(said["host"]), int(said["pid"]), str(said["where"]), float(said["up_s"]))
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            continue  # it has just ended, or it is another file of the run
        if age_s is not None:
            found.append(Driver(own_id, *parts, age_s))
    return found


def in_words(drivers: Sequence[Driver]) -> str:
    """Who they are, for a message."""
    return "; ".join(map(str, drivers))


def _is_dead(driver: Driver) -> bool:
    """Whether its process, which ran where we do, is gone."""
    if driver.where != _here():
        return False
    try:
        os.kill(driver.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _here() -> str:
    """What says that a pid of ours and one of another process are numbers of the same table; unlike any other where unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"{socket.gethostname()} {os.getpid()}"
