"""`verify`: whether every object of a root is there, whole, and what its rows say, and whether nothing is there besides.

Everything is read and hashed; `deep` decodes every clip too. What follows from rows (plan, records, index, README) is
worked out again and compared, so that any change of any byte is found. `_run/` is passed over.
"""

import re

from shardpipe.core.errors import ShardpipeError
from shardpipe.engine.findings import Findings, Report
from shardpipe.engine.verifyrows import RowsCheck
from shardpipe.engine.verifyshards import ShardsCheck
from shardpipe.engine.verifytar import TarCheck
from shardpipe.storage.dataset import Dataset
from shardpipe.storage.removed import Removed
from shardpipe.storage.rows import decode_table
from shardpipe.storage.store import RUN, open_store

OURS = re.compile(
    r"[a-z0-9_-]+/((rows|plan|emit|sources)/.+\.parquet|shards/.+\.tar(\.idx)?|index\.parquet|wids\.json)\Z"
)
LIST = re.compile(r"removed(\.\d+)?\.parquet\Z")


def verify(root: str, *, deep: bool = False) -> Report:
    """Check all Datasets of a root; never raises for what is damaged there, but ConfigError where nothing of ours is."""
    store = open_store(root, read_only=True)
    objects = {path: size for path, size in store.list("").items() if not path.startswith(f"{RUN}/")}
    if not any(path.endswith("/dataset.json") or OURS.match(path) for path in objects):
        Dataset.names(store)
    findings = Findings(store, objects)
    _removed(findings)
    tars = TarCheck(findings, deep=deep)
    names = {path.split("/", 1)[0] for path in objects if "/" in path}
    datasets: list[Dataset] = []
    for name in sorted(names):
        if f"{name}/dataset.json" in objects:
            with findings.guard(f"{name}/dataset.json"):
                datasets.append(Dataset.open(store, name))
    for dataset in datasets:
        _dataset(findings, tars, dataset)
    _unclaimed(findings, {dataset.name for dataset in datasets})
    return Report(root, len(objects), tuple(findings.problems), tuple(findings.notes))


def _removed(findings: Findings) -> None:
    """The list of removed clips: each batch is whole and at its place."""
    ours = [path for path in findings.objects if "/" not in path and path.endswith(".parquet")]
    with findings.guard("removed.parquet"):
        findings.removed = Removed(findings.store)
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


def _dataset(findings: Findings, tars: TarCheck, dataset: Dataset) -> None:
    name = dataset.name
    with findings.guard(f"{name}/dataset.json"):
        for prefix in dataset.info.layers:
            if prefix != ".":
                findings.claim(f"{prefix.removeprefix('../')}/dataset.json", f"it is a layer of {name}")
        RowsCheck(findings, tars, dataset.info).run(*_planned(findings, name))
        if dataset.info.emit == "shards" or findings.below(f"{name}/plan"):
            ShardsCheck(findings, tars, dataset).run()


def _planned(findings: Findings, name: str) -> tuple[list[str], dict[str, str]]:
    """The units that this Dataset's plan lists as missing, and the rows objects that it was made from, path to sha256."""
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


def _unclaimed(findings: Findings, names: set[str]) -> None:
    """What nothing names: a problem inside a Dataset, and a remark elsewhere unless it looks like one of ours."""
    strange = []
    for path in findings.objects:
        if path in findings.claimed:
            continue
        if path.split("/", 1)[0] in names:
            findings.add(path, "belongs to nothing: no rows, plan or record name it")
        elif OURS.match(path):
            folder = path.split("/", 1)[0]
            findings.add(f"{folder}/dataset.json", "is missing or damaged, and the folder has objects of a Dataset")
        else:
            strange.append(path)
    if strange:
        findings.notes.append(f"{len(strange)} objects are not shardpipe's: {', '.join(strange[:3])}")
