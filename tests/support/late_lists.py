"""A store whose listings are late: they show what was there when it was last told to look."""

from shardpipe.storage.crashing import RecordingStore
from shardpipe.storage.store import Entry, Honours, Store


class LateStore(RecordingStore):
    """Lists what lay in `inner` at its construction, but for what is gone, until `catch_up`. All else is as it is."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.catch_up()

    def catch_up(self) -> None:
        """Listings show from now on what is there now."""
        self.shown = self.inner.entries("")

    @property
    def honours(self) -> Honours:
        """As a run would find it out."""
        return Honours(list_after_write=False)

    def list(self, prefix: str) -> dict[str, int]:
        """See Store."""
        return {path: entry.size for path, entry in self.entries(prefix).items()}

    def entries(self, prefix: str) -> dict[str, Entry]:
        """See Store."""
        return {path: entry for path, entry in self.shown.items() if not prefix or path.startswith(f"{prefix}/")}
