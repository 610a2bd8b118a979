"""The local tars that a shard is copied from, straight from file to file."""

import os
from collections import OrderedDict

from shardpipe.core.errors import IntegrityError
from shardpipe.storage.dataset import Row
from shardpipe.storage.metered import MeteredStore
from shardpipe.storage.tar import Packed, TarWriter

MAX_OPEN = 32
"""Local tars kept open while a shard is copied together; a shuffled shard needs many."""


class OpenTars:
    """The local tars that a shard is copied from, the last few kept open."""

    def __init__(self, store: MeteredStore) -> None:
        self._store = store
        self._fds: OrderedDict[str, int] = OrderedDict()

    def is_local(self, path: str) -> bool:
        """Whether this object is a file here."""
        return self._store.local_path(path) is not None

    def copy(self, writer: TarWriter, row: Row) -> Packed:
        """Append a clip's mp4 to `writer`; IntegrityError, naming clip and object, if it cannot be read whole."""
        try:
            return writer.add_range(f"{row['key']}.mp4", self._fd(row["shard"]), row["offset"], row["size"])
        except (FileNotFoundError, IntegrityError) as error:
            reason = "it is gone" if isinstance(error, FileNotFoundError) else str(error)
            where = f"{self._store.url}/{row['shard']}"
            raise IntegrityError(
                f"clip {row['key']} cannot be read from {where}: {reason}. Restore that object"
            ) from None

    def _fd(self, path: str) -> int:
        if path not in self._fds:
            local = self._store.local_path(path)
            assert local is not None
            self._fds[path] = os.open(local, os.O_RDONLY)
            while len(self._fds) > MAX_OPEN:
                os.close(self._fds.popitem(last=False)[1])
        self._fds.move_to_end(path)
        return self._fds[path]

    def close(self) -> None:
        """Close them."""
        for fd in self._fds.values():
            os.close(fd)
