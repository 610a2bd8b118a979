"""What `verify` finds, and which objects of a root belong to something."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from shardpipe.core.errors import IntegrityError, ShardpipeError, told
from shardpipe.storage.layers import DatasetInfo
from shardpipe.storage.removed import Removed
from shardpipe.storage.rows import decode_table, encode_arrow, writers
from shardpipe.storage.store import Store

CREATED_BY = "parquet-cpp-arrow version "
VERSION = re.compile(rf"{CREATED_BY}\d+\.\d+\.\d+\S*\Z")
"""Of objects whose facts do not say it."""


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be; `path` is relative to the root."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


@dataclass(frozen=True)
class Report:
    """What came of `verify`. notes: what is unusual, but harms nothing."""

    root: str
    num_objects: int
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()


@dataclass
class Findings:
    """Problems so far, each once. An object is claimed when something names it; one that nothing claims is a problem itself.

    Checks that run in parallel each have findings apart, which are taken in order; what is claimed is known to all.
    """

    store: Store
    objects: dict[str, int]
    problems: dict[Problem, None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    claimed: set[str] = field(default_factory=set)
    removed: Removed = field(default_factory=Removed)

    def apart(self) -> "Findings":
        """Findings of one of several checks that run in parallel."""
        return Findings(self.store, self.objects, claimed=self.claimed, removed=self.removed)

    def take(self, other: "Findings") -> None:
        """Add what findings apart have."""
        self.problems |= other.problems
        self.notes += other.notes

    def add(self, path: str, text: str) -> None:
        """A problem, once."""
        self.problems[Problem(path, told(text))] = None

    @contextmanager
    def guard(self, path: str) -> Iterator[None]:
        """Whatever goes wrong inside is a problem of `path`: damage must not end the search for more."""
        try:
            yield
        except FileNotFoundError as error:
            self.add(path, f"cannot be checked: {error} is missing; restore that, then verify again")
        except ShardpipeError as error:
            self.add(path, str(error))
        except Exception as error:  # noqa: BLE001  damaged objects may break any code that reads them
            self.add(
                path,
                f"cannot be checked, as it does not fit what it was made from ({type(error).__name__}: {error}): mend the other "
                "problems first; if this one stays, the object is damaged: restore it",
            )

    def claim(self, path: str, why: str) -> bool:
        """Whether the object is there; `why` says who needs it. A listing may be old: the store itself is asked."""
        self.claimed.add(path)
        if path not in self.objects:
            size = self.store.size(path)
            if size is None:
                self.add(path, f"is missing: {why}")
                return False
            self.objects[path] = size
        return True

    def below(self, prefix: str) -> list[str]:
        """The objects under a folder."""
        return [path for path in list(self.objects) if path.startswith(f"{prefix}/")]

    def table(self, path: str) -> tuple[bytes, pa.Table, dict[str, Any]] | None:
        """A Parquet object: bytes, rows and facts; None, and a problem, if a byte of it is not what was written."""
        with self.guard(path):
            data = self.store.read(path)
            table, facts = decode_table(data)
            if damage := _damage(data, table, facts):
                self.add(path, damage)
            return data, table, facts
        return None


def damage_of(path: str, data: bytes) -> str | None:
    """Why an object is not what was written, where its bytes can tell (Parquet, dataset.json); None if it is."""
    try:
        if path.endswith(".parquet"):
            return _damage(data, *decode_table(data))
        if path.endswith("/dataset.json") and DatasetInfo.from_bytes(data, path).to_bytes() != data:
            return "is damaged: not the bytes that were written"
    except IntegrityError as error:
        return str(error)
    return None


def _damage(data: bytes, table: pa.Table, facts: dict[str, Any]) -> str | None:
    if text := unknown_writer(data):
        return text
    # Another version may lay out the same rows in other bytes; then the checksums must do.
    if is_of_this_arrow(data) and encode_arrow(table, facts, arrow=writers(data)[0]) != data:
        return "is damaged: its rows are not stored in these bytes"
    return None


def unknown_writer(data: bytes) -> str | None:
    """What is wrong with what a table (or its end) says of who wrote it."""
    said, writer = writers(data)
    if VERSION.match(writer or "") if said is None else writer == f"{CREATED_BY}{said}":
        return None
    return f"is damaged: written by {writer!r}{'' if said is None else f', and its facts say {said}'}"


def is_of_this_arrow(data: bytes) -> bool:
    """Whether the version of Arrow at work here wrote a table, of which the end will do: then its bytes can be made again."""
    return writers(data)[1] == f"{CREATED_BY}{pa.cpp_version}"
