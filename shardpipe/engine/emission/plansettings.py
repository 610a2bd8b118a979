"""What decides an emitted Dataset's shards beside its rows, and what each clip's sample then holds."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from shardpipe.config.models import PassConfig
from shardpipe.config.parts import EmitConfig
from shardpipe.core.columns import Columns, string
from shardpipe.core.errors import ConfigError
from shardpipe.engine.emission.sidecar import sidecar
from shardpipe.engine.expression import unknown_column
from shardpipe.storage.dataset import Row


class PlanSettings(BaseModel):
    """What decides the shards, beside the rows. Members stand in the order that shards have them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shard_bytes: int
    members: tuple[str, ...] = ("json", "mp4")
    columns: tuple[str, ...] | None = None
    shuffle: int | None = None
    bucket: tuple[str, ...] = ()
    plan_units: int | None = None
    allow_missing: int = 0

    @staticmethod
    def of(config: PassConfig) -> "PlanSettings":
        """The settings of a pass."""
        return PlanSettings.of_emit(config.emit, config.shard_bytes)

    @staticmethod
    def of_emit(emit: EmitConfig, shard_bytes: int) -> "PlanSettings":
        """The settings that these options mean: json before mp4 before everything else."""
        first = [ext for ext in ("json", "mp4") if ext in emit.members]
        return PlanSettings(
            shard_bytes=shard_bytes,
            members=(*first, *(ext for ext in emit.members if ext not in first)),
            columns=None if emit.columns is None else tuple(emit.columns),
            shuffle=emit.shuffle,
            bucket=tuple(emit.bucket),
            plan_units=emit.plan_units,
            allow_missing=emit.allow_missing,
        )

    @property
    def identity(self) -> dict[str, Any]:
        """What a plan must have been made with: all but `allow_missing`, which says when, not what."""
        return self.model_dump(mode="json", exclude={"allow_missing"})

    def check(self, where: str, columns: Columns, members: Mapping[str, str]) -> None:
        """Raise ConfigError, naming `where`, unless a Dataset with these columns and layer members can be emitted so."""
        for name in (*(self.columns or ()), *self.bucket):
            if name not in columns:
                raise ConfigError(f"{where}.emit: {unknown_column(name, columns)}")
        if "mp4" not in self.members:
            raise ConfigError(f"{where}.emit.members: mp4 must be one of them (the clips themselves)")
        for ext in self.members:
            if ext == "txt" and columns.get("text") != string:
                raise ConfigError(f"{where}.emit.members: txt holds the column `text`, which no stage before writes")
            if ext not in ("json", "mp4", "txt") and ext not in members:
                there = ", ".join(["json", "mp4", "txt", *members])
                raise ConfigError(f"{where}.emit.members: no layer writes .{ext} (there are: {there})")

    def sidecar_columns(self, columns: Columns) -> Columns:
        """The columns that go into a sidecar."""
        return columns if self.columns is None else {name: columns[name] for name in self.columns}


def member_sizes(row: Row, settings: PlanSettings, columns: Columns) -> dict[str, int]:
    """Bytes of each member of a kept clip's sample, in order; `columns` are the sidecar's. ConfigError where it lacks one."""
    sizes = {}
    for ext in settings.members:
        if ext == "json":
            sizes[ext] = len(sidecar(row, columns))
        elif ext == "mp4":
            sizes[ext] = row["size"]
        elif ext == "txt":
            if row["text"] is None:
                raise ConfigError(
                    f"clip {row['key']} is kept but has no text for its .txt: add `text IS NOT NULL` to `keep`"
                )
            sizes[ext] = len(row["text"].encode())
        elif ext in row["members"]:
            sizes[ext] = row["members"][ext].size
        else:
            raise ConfigError(
                f"clip {row['key']} is kept but has no .{ext}: drop such clips by a rule, or emit without .{ext}"
            )
    return sizes
