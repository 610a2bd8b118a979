"""The end of a unit of a pass: one row for each clip that it saw, members in a tar of the layer's own, committed once.

A clip that was removed meanwhile is left out. Whoever puts a tar looks at the list of removed clips again, and takes out of the tar
what came on it.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from shardpipe.core.clip import STATE
from shardpipe.core.columns import Columns, string
from shardpipe.core.errors import IncompleteError
from shardpipe.core.fingerprint import sha256_hex
from shardpipe.core.work import UnitJob
from shardpipe.engine.counts import count
from shardpipe.engine.emission.packing import END_BYTES, sample_bytes
from shardpipe.engine.passes.stagebatch import ClipState
from shardpipe.engine.worker import scratch_folder
from shardpipe.storage.blanks import blank
from shardpipe.storage.commit import RowsLog, tar_name
from shardpipe.storage.dataset import Fold, View
from shardpipe.storage.members import member_columns, member_values
from shardpipe.storage.rows import RowsMeta, TarRef, decode_meta, encode_rows
from shardpipe.storage.store import Store
from shardpipe.storage.tar import TarWriter

if TYPE_CHECKING:
    from shardpipe.engine.tasks import PassTask


class Sink:
    """Writes the rows of one pass."""

    def __init__(self, store: Store, task: "PassTask", view: View) -> None:
        self._store = store
        self._task = task
        self._view = view
        self._removed = view.removed
        self._log = RowsLog(store, task.name)

    def there(self, job: UnitJob) -> RowsMeta | None:
        """What the rows say that this job is to write, None if they are not committed yet."""
        return self._log.there(job.name, job.generation)

    def commit(self, job: UnitJob, fold: Fold, clips: Sequence[ClipState]) -> RowsMeta:
        """Commit a unit; what the rows say that are there now (ours, or a twin's that was faster)."""
        clips = self._still_there(fold, clips)
        while True:
            rows = [self._row(clip) for clip in clips]
            members_tar = self._put_members(job, clips, rows)
            if not self._take_out(members_tar, clips):
                break
            clips = self._left(clips)
        timed = [{**row, "duration_s": clip.row.get("duration_s")} for row, clip in zip(rows, clips, strict=True)]
        meta = RowsMeta(
            fingerprint=self._task.fingerprint,
            unit=job.name,
            inputs=fold.inputs,
            generation=job.generation,
            members_tar=members_tar,
            counts=count(timed),
        )
        data = encode_rows(layer_columns(self._task.program.columns, self._task.program.members), rows, meta)
        won = decode_meta(self._log.commit(job.name, data, job.generation))
        self._take_out(members_tar, clips)
        return won

    def _left(self, clips: Sequence[ClipState]) -> Sequence[ClipState]:
        """Those that are not removed."""
        return [clip for clip in clips if not self._removed.has(clip.key, clip.row.get("source"))]

    def _still_there(self, fold: Fold, clips: Sequence[ClipState]) -> Sequence[ClipState]:
        """As `_left`. Raises IncompleteError where clips failed since their shards are being rewritten."""
        if any(clip.error is not None for clip in clips):
            self._removed.refresh()
            if self._removed and self._view.has_moved(fold):
                raise IncompleteError(
                    f"unit {fold.unit}: the shards of its input are being rewritten by `shardpipe remove`. Run again"
                )
        return self._left(clips)

    def _take_out(self, members_tar: TarRef | None, clips: Sequence[ClipState]) -> bool:
        """Take the clips that are removed by now out of the tar of members, which is put; whether there are any."""
        if members_tar is None:
            return False
        self._removed.refresh()
        if len(self._left(clips)) == len(clips):
            return False
        with suppress(FileNotFoundError):  # `gc` took it, as the unit is done
            blank(self._store, f"{self._task.name}/{members_tar.name}", self._removed)
        return True

    def _row(self, clip: ClipState) -> dict[str, Any]:
        if clip.settled is not None:
            return dict(clip.settled)
        state = {"kept": clip.alive, "dropped_by": clip.dropped_by, "error": clip.error}
        columns = {name: clip.new.get(name) for name in self._task.program.columns}
        return {"key": clip.key, **state, **columns}

    def _put_members(self, job: UnitJob, clips: Sequence[ClipState], rows: list[dict[str, Any]]) -> TarRef | None:
        if not any(clip.members for clip in clips):
            return None
        size = END_BYTES + sample_bytes(len(data) for clip in clips for data in clip.members.values())
        with scratch_folder(self._store, size) as folder, TarWriter(folder / f"{job.name}.tar") as tar:
            for clip, row in zip(clips, rows, strict=True):
                for name, data in sorted(clip.members.items()):
                    ext = self._task.program.members[name]
                    row.update(member_values(name, tar.add(f"{clip.key}.{ext}", data), sha256_hex(data)))
            written = tar.close()
            name = tar_name("members", job.name, job.generation, written.sha256)
            self._store.put_file(f"{self._task.name}/{name}", tar.path)
        return TarRef(name, written.num_bytes, written.sha256)


def layer_columns(columns: Columns, members: dict[str, str]) -> dict[str, Any]:
    """The schema of a layer's rows objects."""
    return {"key": string, **STATE, **columns, **member_columns(sorted(members))}
