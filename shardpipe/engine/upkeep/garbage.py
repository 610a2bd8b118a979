"""Tars that nobody needs: those of lost races and dead workers, by the rule that makes deleting them safe at any moment.

A tar of unit U and generation G (`shards/U.G-<12 hex>.tar`) is needed by nobody if rows U.G are there, and no rows of U name
it: whoever would still name it creates rows U.G, comes too late, and takes what is there. Rows are looked up by name, since
a listing may lack what was written lately; so may one of tars, which then stay until the next time.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from shardpipe.core.errors import ShardpipeError
from shardpipe.storage.commit import RowsLog, TarName
from shardpipe.storage.dataset import DatasetInfo
from shardpipe.storage.drivers import in_words, live_drivers
from shardpipe.storage.facts import read_end
from shardpipe.storage.parallel import for_each, in_order, num_readers
from shardpipe.storage.probe import known_honours
from shardpipe.storage.rows import RowsMeta, TarRef, decode_meta
from shardpipe.storage.store import Store


@dataclass(frozen=True)
class Tar:
    """A tar that no rows name. why: of one that is kept nevertheless; empty: it is needed by nobody."""

    path: str
    num_bytes: int
    why: str = ""


def unreferenced(store: Store, objects: Mapping[str, int] | None = None) -> list[Tar]:
    """The tars of units that no rows name, sorted by path. objects: a listing of the root."""
    objects = store.list("") if objects is None else objects
    found: list[Tar] = []
    for name in sorted({path.split("/", 1)[0] for path in _tars(objects)}):
        found += _of_dataset(store, name, objects)
    if any(not tar.why for tar in found) and (reason := _why_not_now(store)):
        return [Tar(tar.path, tar.num_bytes, tar.why or reason) for tar in found]
    return found


def delete(store: Store, tars: Iterable[Tar]) -> None:
    """Delete those that are needed by nobody."""
    for_each([tar.path for tar in tars if not tar.why], store.delete, at_once=num_readers(store))


def _tars(objects: Iterable[str]) -> Iterator[str]:
    """Paths that a tar of a unit may have."""
    for path in objects:
        parts = path.split("/")
        if len(parts) == 3 and parts[1] in ("shards", "members") and TarName.parse(path) is not None:  # noqa: PLR2004
            yield path


def _why_not_now(store: Store) -> str:
    """Why nothing may be deleted while a driver lives: where conditions are ignored, who comes too late wins."""
    honours = known_honours(store)
    if honours is not None and honours.conditional_put:
        return ""
    drivers = live_drivers(store)
    return f"a driver lives, and the store keeps no two apart: {in_words(drivers)}" if drivers else ""


def _of_dataset(store: Store, name: str, objects: Mapping[str, int]) -> list[Tar]:
    own = {path: size for path, size in objects.items() if path.startswith(f"{name}/")}
    folders, reason = _folders(store, name)
    tars = [path for path in _tars(own) if path.split("/")[1] in folders]
    if reason:
        return [Tar(path, own[path], reason) for path in tars]
    named = _named(store, name, own)
    left: dict[str, list[str]] = {}
    for path in tars:
        if path not in named and (parsed := TarName.parse(path)) is not None:
            left.setdefault(parsed.unit, []).append(path)
    lost = _Lost(store, named)
    units = in_order(left, lambda unit: _rows_of(store, name, unit), at_once=num_readers(store))
    found = [
        Tar(path, own[path], lost.may_be(path) or why)
        for unit, rows in units
        for path, why in _judged(name, left[unit], rows.result())
    ]
    return sorted(found, key=lambda tar: tar.path)


def _folders(store: Store, name: str) -> tuple[list[str], str]:
    """The folders of a Dataset that have tars of units; and why none of them may be deleted, if so."""
    path = f"{name}/dataset.json"
    try:
        info = DatasetInfo.from_bytes(store.read(path), f"{store.url}/{path}")
    except FileNotFoundError:
        return [], ""  # no Dataset of ours
    except ShardpipeError as error:
        return ["members", "shards"], str(error)
    if info.name != name:
        return ["members", "shards"], f"{path} is that of {info.name}"
    return ["members", "shards"] if info.kind == "cut" else ["members"], ""


class _Lost:
    """Tars that rows name and that are gone: under another name their bytes are still of use."""

    def __init__(self, store: Store, named: Mapping[str, TarRef]) -> None:
        self._store = store
        self._named = named
        self._by_hash: dict[str, list[str]] = {}
        for path, ref in named.items():
            self._by_hash.setdefault(ref.sha256[:12], []).append(path)

    def may_be(self, path: str) -> str:
        """Why a tar that no rows name is to be kept, if it may be one of them."""
        parsed = TarName.parse(path)
        for other in self._by_hash.get(parsed.sha256, []) if parsed is not None else []:
            if self._store.size(other) != self._named[other].num_bytes:
                return f"it may be what {other} was, which rows name and which is missing or cut short"
        return ""


def _named(store: Store, name: str, objects: Mapping[str, int]) -> dict[str, TarRef]:
    """The tars that rows name which are listed, by path; of rows that cannot be read none."""
    log = RowsLog(store, name)
    paths = [log.path(unit, g) for unit, newest in log.generations(objects).items() for g in range(newest + 1)]

    def refs(path: str) -> list[TarRef]:
        try:
            meta = decode_meta(read_end(store, path, objects[path]), f"{store.url}/{path}")
        except (FileNotFoundError, ShardpipeError):
            return []
        return _refs(meta)

    listed = [path for path in paths if path in objects]
    read = in_order(listed, refs, at_once=num_readers(store))
    return {f"{name}/{ref.name}": ref for _, future in read for ref in future.result()}


def _refs(meta: RowsMeta) -> list[TarRef]:
    return [ref for ref in (meta.tar, meta.members_tar) if ref is not None]


def _rows_of(store: Store, name: str, unit: str) -> list[RowsMeta] | str:
    """What all generations of a unit's rows say, looked up by name; or why that is not known."""
    log, found = RowsLog(store, name), list[RowsMeta]()
    try:
        while (meta := log.there(unit, len(found))) is not None:
            if (meta.unit, meta.generation) != (unit, len(found)):
                return f"{log.path(unit, len(found))} holds the rows of {meta.unit}, generation {meta.generation}"
            found.append(meta)
    except ShardpipeError as error:
        return str(error)
    return found


def _judged(name: str, tars: Iterable[str], rows: list[RowsMeta] | str) -> Iterator[tuple[str, str]]:
    """Of the tars of one unit those that its rows do not name, each with why it is kept."""
    refs = set() if isinstance(rows, str) else {f"{name}/{ref.name}" for meta in rows for ref in _refs(meta)}
    for path in tars:
        parsed = TarName.parse(path)
        if path in refs or parsed is None:
            continue
        if isinstance(rows, str):
            yield path, rows
        elif parsed.generation < len(rows):
            yield path, ""
        else:
            generation = f", generation {parsed.generation}," if parsed.generation else ""
            yield (
                path,
                f"no rows of unit {parsed.unit}{generation} are there yet: a worker is at it, or was cut off (start that again)",
            )
