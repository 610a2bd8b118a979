"""What belongs to a Dataset: the objects that its protocol names, in an order in which they may come to be somewhere else.

    media        shards/, members/            those that rows or records name, no others
    0            shards/*.tar.idx
    1            sources/*.parquet
    2, 3, ...    rows/*.parquet               a generation after the other
    then         plan/, emit/, urls.txt, wids.json, README.md, dataset.json, index.parquet, index.0001.parquet, ...

Whatever is cut off in the middle is no Dataset, since its dataset.json comes after all that it needs; an emitted one has no index.
A tar is never without rows that are older than those that name it: `gc` leaves it alone meanwhile.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby

from shardpipe.core.errors import IntegrityError
from shardpipe.engine.emission.window import shard_unit
from shardpipe.engine.objectnames import BESIDE_NAME, ENERGON_NAME, INDEX_NAME
from shardpipe.engine.verifying.findings import Problem
from shardpipe.storage.commit import NAME as ROWS_NAME
from shardpipe.storage.facts import read_end
from shardpipe.storage.lookback import DIGESTS
from shardpipe.storage.parallel import in_order, num_readers
from shardpipe.storage.rows import TarRef, decode_facts, decode_meta
from shardpipe.storage.store import Store

IDX, SOURCES, ROWS, PLAN, EMIT, BESIDE, INFO, INDEX = range(8)
MADE_AGAIN = frozenset({IDX, EMIT, BESIDE, INDEX})
FOLDERS = {"sources": SOURCES, "rows": ROWS, "plan": PLAN, "emit": EMIT}

Step = tuple[int, int]
"""A place in the order: which kind of objects, and of rows the generation, of an index its number."""


@dataclass(frozen=True)
class Tar:
    """A tar, and the rows object (or record) that names it."""

    path: str
    ref: TarRef
    by: str


@dataclass
class Belongings:
    """The objects of one Dataset. sizes: of all that was found there. named_by: all that name a tar. bad: what cannot be had whole.
    needs: by path, within the root, what objects of it were made from or stand for; and which of them says so.
    """

    name: str
    sizes: dict[str, int]
    tars: dict[str, Tar] = field(default_factory=dict)
    named_by: dict[str, list[str]] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    bad: set[str] = field(default_factory=set)
    needs: dict[str, str] = field(default_factory=dict)

    @property
    def left(self) -> list[str]:
        """What nothing names: tars of lost races and crashes, files of others."""
        return [path for path in self.sizes if path not in self.tars and path not in self.steps]

    @property
    def num_bytes(self) -> int:
        """Of all that belongs to it."""
        return sum(self.sizes[path] for path in (*self.tars, *self.steps))

    def is_made_again(self, path: str) -> bool:
        """Whether `remove` makes an object again, where clips of it are removed; tars apart."""
        return path in self.steps and self.steps[path][0] in MADE_AGAIN

    def in_order(self) -> list[tuple[Step, list[str]]]:
        """All but the tars, those of one step together."""
        ordered = sorted(self.steps.items(), key=lambda item: (item[1], item[0]))
        return [(step, [path for path, _ in some]) for step, some in groupby(ordered, key=lambda item: item[1])]


def belongings(store: Store, name: str) -> Belongings:
    """What belongs to the Dataset `name`. Rows that cannot be read, and tars that are not there, are problems of it."""
    found = Belongings(name, store.list(name))
    inner = {path: path.removeprefix(f"{name}/") for path in found.sizes}
    found.steps = {path: step for path, rest in inner.items() if (step := _step(rest)) is not None}
    naming = [path for path, step in found.steps.items() if step[0] in (ROWS, EMIT, PLAN, INDEX)]
    shards: dict[str, list[str]] = {}  # of each plan, its records
    at_once = num_readers(store)
    with closing(in_order(naming, lambda path: _end(store, path, found.sizes[path]), at_once=at_once)) as ends:
        for path, end in ends:
            try:
                _take(store, found, path, end.result(), shards)
            except (IntegrityError, KeyError) as error:
                found.problems.append(Problem(path, str(error)))
                found.bad.add(path)
    for path in [path for path in found.needs if path in shards and found.needs[path].startswith(f"{name}/index.")]:
        found.needs.update((record, found.needs[path]) for record in shards[path])
    return found


def _take(store: Store, found: Belongings, path: str, end: bytes, shards: dict[str, list[str]]) -> None:
    """Note what an object says of others, by its end."""
    step, where = found.steps[path][0], f"{store.url}/{path}"
    if step in (PLAN, INDEX):
        facts = decode_facts(end, where)
        found.needs.update((each, path) for each in facts["inputs" if step == PLAN else "windows"])
        if step == PLAN:
            units = range(facts["first_shard"], facts["first_shard"] + facts["num_shards"])
            shards[path] = [f"{found.name}/emit/{shard_unit(unit)}.parquet" for unit in units]
        return
    meta = decode_meta(end, where)
    found.needs.update((each, path) for each in meta.inputs if each not in DIGESTS)
    for ref in {ref for ref in (meta.tar, meta.members_tar) if ref is not None}:
        _add_tar(store, found, Tar(f"{found.name}/{ref.name}", ref, path))


def _add_tar(store: Store, found: Belongings, tar: Tar) -> None:
    """A tar that is named, and its .idx; looked for by name, since it may have come after the listing."""
    found.named_by.setdefault(tar.path, []).append(tar.by)
    for path in (tar.path, f"{tar.path}.idx"):
        size = found.sizes.get(path)
        if size is None and (path == tar.path or tar.by.startswith(f"{found.name}/emit/")):
            size = store.size(path)
            if size is None:
                found.problems.append(Problem(path, f"is missing: {tar.by} names it"))
                found.bad.add(tar.by)
                continue
            found.sizes[path] = size
        if path == tar.path:
            found.tars[path] = tar
        elif size is not None:
            found.steps[path] = (IDX, 0)


def _end(store: Store, path: str, size: int) -> bytes:
    """The end of a Parquet object that says what it is; nothing where it cannot be read."""
    try:
        return read_end(store, path, size)
    except (IntegrityError, FileNotFoundError):  # cut, or gone, since it was listed
        return b""


def _step(rest: str) -> Step | None:
    """The place in the order of an object, by its path in the Dataset; None for tars, and what is none of ours."""
    folder, slash, file = rest.partition("/")
    if slash and folder in FOLDERS:
        match = ROWS_NAME.match(file)
        return None if match is None else (FOLDERS[folder], int(match["generation"] or 0))
    if rest == "dataset.json":
        return INFO, 0
    if match := INDEX_NAME.match(rest):
        return INDEX, int(match["number"] or -1)
    return (BESIDE, 0) if BESIDE_NAME.match(rest) or ENERGON_NAME.match(rest) else None


def foreign(found: Belongings, there: Mapping[str, int], *, any_removed: bool) -> str | None:
    """An object of a folder elsewhere, with these paths and sizes, that is no part of a copy of this Dataset. any_removed: whether
    clips were removed, so that what is made again then may be of before.
    """
    for path, size in there.items():
        if path in found.tars or path.endswith((".tar", ".idx")) or found.sizes.get(path) == size:
            continue
        if not (any_removed and found.is_made_again(path)):
            return path
    return None


def inputs_first(names: Iterable[str], inputs: Mapping[str, Sequence[str]]) -> list[str]:
    """These Datasets and all that they were made from, each after its inputs; inputs: those of each."""
    order: dict[str, None] = {}

    def visit(name: str, above: tuple[str, ...]) -> None:
        for each in inputs.get(name, ()) if name not in above else ():
            visit(each, (*above, name))
        order[name] = None

    for name in names:
        visit(name, ())
    return list(order)
