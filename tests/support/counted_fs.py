"""`counted://`: a file system in memory that notes every range that is read of it, and can go wrong."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem


@dataclass
class Reads:
    """reads: path, first byte and byte after the last of each read. trouble: called before each; what it raises is raised, and
    what it returns is sent instead of the bytes.
    """

    reads: list[tuple[str, int, int]] = field(default_factory=list)
    trouble: Callable[[str, int, int], bytes | None] = lambda *_: None

    def num_bytes(self) -> int:
        """Bytes that were sent."""
        return sum(stop - start for _, start, stop in self.reads)


class CountedFileSystem(MemoryFileSystem):
    """Its own store, so that nothing else in memory is seen."""

    protocol = "counted"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    seen: ClassVar[Reads] = Reads()

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        size = self.info(path)["size"]
        first, last = start or 0, size if end is None else min(end, size)
        sent = self.seen.trouble(path, first, last)
        data = super().cat_file(path, start=first, end=last) if sent is None else sent
        self.seen.reads.append((path, first, first + len(data)))
        return bytes(data)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        assert mode != "rb", f"{path} is opened, and read past the count"
        return super()._open(path, mode, **options)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("counted://", "memory://")))


@contextmanager
def counted(files: dict[str, Path | bytes]) -> Iterator[Reads]:
    """The file system with these files (path below `counted://` to content); what was read of it."""
    fsspec.register_implementation("counted", CountedFileSystem, clobber=True)
    fs = fsspec.filesystem("counted")
    CountedFileSystem.store.clear()
    CountedFileSystem.seen = seen = Reads()
    for path, content in files.items():
        fs.pipe_file(f"counted://{path}", content if isinstance(content, bytes) else content.read_bytes())
    seen.reads.clear()
    yield seen
    CountedFileSystem.store.clear()
