"""`doctor`: what crashes and lost races left on a root, and what is only half made.

examine(store)  what is there, and of each what `fix` would do with it, if anything
fix(store, it)  does that

Only what is by its name of shardpipe's own making and needed by nobody is removed, so that it is safe while drivers are at
work. Multipart uploads and heartbeats are those of a driver that lives, or of one that does not: what such a driver leaves
is listed before the drivers are, so that one that starts meanwhile is never taken for dead.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shardpipe.core.errors import ConfigError, ShardpipeError, StoreError
from shardpipe.engine.objectnames import OURS
from shardpipe.engine.upkeep.garbage import unreferenced
from shardpipe.engine.upkeep.strays import strays
from shardpipe.engine.views.report import PassStatus, status
from shardpipe.storage.commit import TarName
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.drivers import Driver, all_drivers, beat_path, in_words, live_drivers
from shardpipe.storage.probe import PROBES
from shardpipe.storage.scratch import leftovers, remove_leftovers
from shardpipe.storage.store import RUN, TEMP, Store, Upload

Kind = Literal["upload", "tar", "probe", "heartbeat", "scratch", "stray", "pass"]
PROBE = re.compile(rf"{PROBES}/[0-9a-f]{{32}}/(put|complete)\Z")
UNIT_TAR = re.compile(r"[A-Za-z0-9_-]+/(shards|members)/[^/]+\Z")
SHARD = re.compile(r"(?P<name>[A-Za-z0-9_-]+)/shards/(?P=name)-[0-9]{6,}\.tar\Z")
DATASET = re.compile(r"[^/]+/dataset\.json\Z")
PROBE_S = 600.0
"""A probe takes seconds; what is younger may be that of a driver that starts just now."""

KNOWN_S = 10 * 365 * 86400.0
"""A server that says that an upload is older does not know when it was begun (moto gives each the same day in 2010)."""

MARGIN_S = 10.0
"""Stores tell times in whole seconds."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found. fix: what is done about it (`delete`, `abort`); empty: nothing, it is only told."""

    kind: Kind
    path: str
    text: str
    fix: Literal["", "delete", "abort"] = ""
    num_bytes: int | None = None
    upload: Upload | None = None


@dataclass(frozen=True)
class Examined:
    """What was found on a root, and the drivers that live there, where they say so."""

    root: str
    findings: tuple[Finding, ...]
    drivers: tuple[Driver, ...] = ()


def examine(store: Store) -> Examined:
    """Look at all of a root; changes nothing. ConfigError where there is nothing of shardpipe's."""
    uploads, unlisted = _uploads(store)
    objects = store.list("")
    beats = all_drivers(store)
    drivers = live_drivers(store)
    findings = [
        *unlisted,
        *(_upload(each, drivers, objects) for each in uploads),
        *_tars(store, objects),
        *_probes(store, objects),
        *_heartbeats(beats, drivers),
        *_scratch(store),
        *_datasets(store, objects),
    ]
    if not findings and not any(path.startswith(f"{RUN}/") for path in objects):
        Dataset.names(store)  # says that there is none
    return Examined(store.url, tuple(findings), tuple(drivers))


def fix(store: Store, finding: Finding) -> bool:
    """Do what the finding says; whether that was done: a driver that was taken for dead may live again."""
    if finding.kind == "heartbeat" and any(beat_path(driver.id) == finding.path for driver in live_drivers(store)):
        return False
    if finding.upload is not None:
        store.abort_upload(finding.upload)
    elif finding.kind != "scratch":
        store.delete(finding.path)
    elif (scratch := _scratch_of(store)) is not None:
        remove_leftovers(scratch)
        return not (scratch.parent / finding.path).exists()
    return True


def _uploads(store: Store) -> tuple[Sequence[Upload], Sequence[Finding]]:
    """The multipart uploads, or the finding that they cannot be listed: all else is looked at in any case."""
    try:
        return store.uploads(), ()
    except StoreError as error:
        return (), [Finding("upload", "", f"multipart uploads cannot be listed, so dead ones stay unseen: {error}")]


def _upload(upload: Upload, drivers: Sequence[Driver], objects: Mapping[str, int]) -> Finding:
    text = f"an upload that was begun {upload.age_s:.0f} s ago and is not over"
    path = upload.path
    if PROBE.match(path):
        # that of a driver that starts just now, which nobody knows yet, is begun anew
        is_ours, is_orphan = True, not drivers or upload.age_s > PROBE_S
        text += ", of a probe"
    else:
        is_in_dataset = f"{path.split('/', maxsplit=1)[0]}/dataset.json" in objects
        is_tar = bool(SHARD.match(path) or (UNIT_TAR.match(path) and TarName.parse(path)))
        is_ours = is_tar or path.startswith(f"{RUN}/") or (is_in_dataset and bool(OURS.match(path)))
        is_orphan = all(driver.started_s_ago + MARGIN_S < upload.age_s < KNOWN_S for driver in drivers)
    if not is_ours:
        return Finding("upload", path, f"{text}; it is not shardpipe's", upload=upload)
    if not is_orphan:
        return Finding(
            "upload", path, f"{text}; a driver may be at it: {in_words(drivers) or 'it is young'}", upload=upload
        )
    return Finding("upload", path, f"{text}; whoever began it is dead", "abort", upload=upload)


def _tars(store: Store, objects: Mapping[str, int]) -> Iterator[Finding]:
    for tar in unreferenced(store, objects):
        text = f"no rows name it, and it stays: {tar.why}" if tar.why else "no rows name it, and none will"
        yield Finding("tar", tar.path, text, "" if tar.why else "delete", tar.num_bytes)


def _probes(store: Store, objects: Mapping[str, int]) -> Iterator[Finding]:
    for path, num_bytes in objects.items():
        age_s = store.age_s(path) if PROBE.match(path) else None
        if age_s is not None:
            is_old = age_s > PROBE_S
            text = f"of a probe {age_s:.0f} s ago{'' if is_old else ', which may be a driver that starts just now'}"
            yield Finding("probe", path, text, "delete" if is_old else "", num_bytes)


def _heartbeats(beats: Sequence[Driver], drivers: Sequence[Driver]) -> Iterator[Finding]:
    living = {driver.id for driver in drivers}
    for driver in beats:
        if driver.id not in living:
            yield Finding("heartbeat", beat_path(driver.id), f"of a driver that is dead: {driver}", "delete")


def _scratch(store: Store) -> Iterator[Finding]:
    """Folders that dead processes left under a local root."""
    scratch = _scratch_of(store)
    for folder in leftovers(scratch) if scratch is not None else ():
        yield Finding("scratch", f"{TEMP}/{folder.name}", "of a process that is dead", "delete", _bytes_in(folder))


def _scratch_of(store: Store) -> Path | None:
    """The folder under a local root where processes build their files."""
    place = store.local_path(RUN)
    return None if place is None else place.parent / TEMP


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _datasets(store: Store, objects: Mapping[str, int]) -> Iterator[Finding]:
    """Strays of each Dataset, and whether all of it is made."""
    folders = sorted({path.split("/")[0] for path in objects if OURS.match(path) or DATASET.match(path)})
    for name in folders:
        try:
            dataset = Dataset.open(store, name)
            found = list(strays(dataset, objects))
        except (FileNotFoundError, ShardpipeError) as error:
            yield Finding("pass", name, f"cannot be examined ({error}): run `shardpipe verify {store.url}`")
            continue
        for path in found:
            yield Finding("stray", path, "nothing of the Dataset names it; see what it is", "", objects[path])
    try:
        passes = status(store).passes
    except ConfigError:
        return  # no Dataset yet
    except (FileNotFoundError, ShardpipeError) as error:
        yield Finding(
            "pass", "", f"where the passes stand cannot be told ({error}): run `shardpipe verify {store.url}`"
        )
        return
    for each in passes:
        if not each.complete:
            yield Finding("pass", each.name, _half_made(each))


def _half_made(each: PassStatus) -> str:
    """What is left of a pass, and how to finish it."""
    num_units = each.num_units or 0
    parts = [f"{each.num_units_done} of {num_units} units have rows"]
    if each.emit == "shards":
        if each.num_shards:
            parts.append(f"{each.num_shards_done} of {each.num_shards} planned shards are written")
        else:
            parts.append("no shard is planned")
        parts.append("no index covers all of it")
    return f"{', '.join(parts)}: `shardpipe run CONFIG` goes on from there"
