"""`verify`: whether every object of a root is there, whole, and what its rows say, and whether nothing is there besides.

Everything is read and hashed; `deep` decodes every clip too. What follows from rows (plan, records, index, README) is
worked out again and compared, so that any change of any byte is found. `_run/` is passed over.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from shardpipe.core.errors import ShardpipeError
from shardpipe.engine.objectnames import ENERGON_NAME, OURS
from shardpipe.engine.verifying.crew import Crew
from shardpipe.engine.verifying.findings import Findings, Report
from shardpipe.engine.verifying.verifyrows import RowsCheck
from shardpipe.engine.verifying.verifyshards import ShardsCheck
from shardpipe.engine.verifying.verifytar import TarCheck
from shardpipe.storage.commit import TarName
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.removed import Removed
from shardpipe.storage.rows import decode_table
from shardpipe.storage.store import RUN, Store, open_store

LIST = re.compile(r"removed(\.\d+)?\.parquet\Z")

Planned = tuple[list[str], dict[str, str]]
"""The units that a plan lists as missing, and the rows objects that it was made from, path to sha256."""


def verify(root: str, *, deep: bool = False, tell: Callable[[int, int], None] | None = None) -> Report:
    """Check all Datasets of a root; never raises for what is damaged there, but ConfigError where nothing of ours is.

    tell: called now and then with the bytes of tars that were read so far, and those that there are; from several threads.
    """
    return verify_store(open_store(root, read_only=True), deep=deep, tell=tell)


def verify_store(store: Store, *, deep: bool = False, tell: Callable[[int, int], None] | None = None) -> Report:
    """As `verify`, of an open store."""
    objects = {path: size for path, size in store.list("").items() if not path.startswith(f"{RUN}/")}
    if not any(path.endswith("/dataset.json") or OURS.match(path) for path in objects):
        Dataset.names(store)
    findings = Findings(store, objects)
    _removed(findings)
    names = {path.split("/", 1)[0] for path in objects if "/" in path}
    datasets: list[Dataset] = []
    for name in sorted(names):
        if f"{name}/dataset.json" in objects:
            with findings.guard(f"{name}/dataset.json"):
                dataset = Dataset.open(store, name)
                if dataset.name == name:
                    datasets.append(dataset)
                else:
                    findings.add(f"{name}/dataset.json", f"is that of the Dataset {dataset.name}")
                    findings.claimed.add(f"{name}/dataset.json")
    with Crew(store, _counted(objects, tell)) as crew:
        tars = TarCheck(crew, deep=deep)
        planned = {dataset.name: _planned(findings, dataset.name) for dataset in datasets}
        checks = [_dataset(crew, findings, tars, dataset, planned[dataset.name]) for dataset in datasets]
        _leftovers(crew, findings, tars, checks, {path for _, inputs in planned.values() for path in inputs})
    _unclaimed(findings, {dataset.name for dataset in datasets})
    return Report(store.url, len(objects), tuple(findings.problems), tuple(findings.notes))


def _removed(findings: Findings) -> None:
    """The list of removed clips: each batch is whole and at its place."""
    ours = [path for path in findings.objects if "/" not in path and path.endswith(".parquet")]
    with findings.guard("removed.parquet"):
        findings.removed = Removed(findings.store, with_gaps=True)  # they are told below
    read = {batch.path for batch in findings.removed.batches}
    for path in ours:
        if path in read or LIST.match(path):
            findings.claimed.add(path)
            findings.table(path)
        if path not in read and (path in findings.claimed or _is_ours(findings, path)):
            findings.add(path, "is no batch of the list of removed clips, or one before it is missing or damaged")


def _is_ours(findings: Findings, path: str) -> bool:
    try:
        return "batch" in decode_table(findings.store.read(path))[1]
    except ShardpipeError:
        return False


def _counted(objects: Mapping[str, int], tell: Callable[[int, int], None] | None) -> Callable[[int], None]:
    """What is called with the bytes of each chunk."""
    total = sum(size for path, size in objects.items() if path.endswith(".tar"))
    done = 0
    mutex = threading.Lock()

    def count(num_bytes: int) -> None:
        nonlocal done
        with mutex:
            done += num_bytes
            if tell is not None:
                tell(done, total)

    return count


def _dataset(crew: Crew, findings: Findings, tars: TarCheck, dataset: Dataset, planned: Planned) -> RowsCheck:
    name = dataset.name
    check = RowsCheck(crew, findings, tars, dataset.info)
    with findings.guard(f"{name}/dataset.json"):
        for prefix in dataset.info.layers:
            if prefix != ".":
                findings.claim(f"{prefix.removeprefix('../')}/dataset.json", f"it is a layer of {name}")
        check.run(*planned)
        if dataset.info.emit == "shards" or findings.below(f"{name}/plan"):
            ShardsCheck(crew, findings, tars, dataset).run()
    return check


def _planned(findings: Findings, name: str) -> Planned:
    """What this Dataset's plan says."""
    missing: list[str] = []
    inputs: dict[str, str] = {}
    for path in findings.below(f"{name}/plan"):
        try:
            facts = decode_table(findings.store.read(path))[1]
            missing += facts["missing"]
            inputs |= facts["inputs"]
        except (ShardpipeError, FileNotFoundError, KeyError):
            continue  # a damaged plan is reported where it is checked
    return missing, inputs


def _leftovers(
    crew: Crew, findings: Findings, tars: TarCheck, checks: Sequence[RowsCheck], planned: Collection[str]
) -> None:
    """Tars that no rows name: of a lost race or a crash they harm nothing, and `gc` may delete them."""
    owners = {path: check for check in checks for path in check.leftovers()}
    hashes = list(crew.each(findings, owners, tars.hash))
    copies = Counter(tars.hashes.values())
    for (path, check), sha256 in zip(owners.items(), hashes, strict=True):
        name = TarName.parse(path)
        newest = check.newest.get(name.unit) if name is not None else None
        is_as_named = name is not None and sha256 is not None and sha256.startswith(name.sha256)
        if name is None or newest is None or sha256 is None or not (is_as_named or path in tars.blanked):
            continue  # it belongs to nothing
        findings.claimed.add(path)
        if copies[sha256] > 1:
            findings.add(path, "is a copy of another tar, and no rows name it: `shardpipe gc` deletes it")
        elif name.generation <= newest.generation:
            findings.notes.append(f"{path}: no rows name it (a crash or a lost race); `shardpipe gc` deletes it")
        elif newest.path in planned:
            findings.notes.append(f"{path}: no rows name it (a retry that was cut off); shards are planned without it")
        else:
            findings.add(
                path,
                f"is of generation {name.generation} of unit {name.unit}, which has no rows: a retry or run was cut off "
                "(start it again), or they were lost",
            )


def _unclaimed(findings: Findings, names: set[str]) -> None:
    """What nothing names: a problem inside a Dataset, and a remark elsewhere unless it looks like one of ours, or Energon made it."""
    strange: list[str] = []
    prepared: list[str] = []
    for path in findings.objects:
        if path in findings.claimed:
            continue
        name, _, rest = path.partition("/")
        if name in names and ENERGON_NAME.match(rest):
            prepared.append(path)
        elif name in names:
            findings.add(path, "belongs to nothing: no rows, plan or record name it")
        elif OURS.match(path):
            findings.add(f"{name}/dataset.json", "is missing or damaged, and the folder has objects of a Dataset")
        else:
            strange.append(path)
    if prepared:
        findings.notes.append(f"{len(prepared)} objects are Energon's, and are not checked: {', '.join(prepared[:3])}")
    if strange:
        findings.notes.append(f"{len(strange)} objects are not shardpipe's: {', '.join(strange[:3])}")
