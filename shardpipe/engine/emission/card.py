"""The `README.md` of an emitted Dataset: a Hugging Face dataset card whose features give every column its type.

Readers that do not find them guess types from the first few samples of the first shard, and drop or change what does
not fit the guess later.
"""

import json

from shardpipe.core.columns import Columns, ColumnType
from shardpipe.engine.emission.plansettings import PlanSettings

FEATURES = {"mp4": "video", "txt": "string", "webp": "image", "png": "image", "jpg": "image", "jpeg": "image"}
DECODED = frozenset({"npy", "npz", "pth", "ten", "tb", "mp", "msg", "cbor", "jsn", "text", "transcript"}) | frozenset(
    {"cls", "cls2", "index", "inx", "id"}
)
"""Extensions that Hugging Face's reader decodes, to a type that only their stage knows: declared wrongly, nothing loads."""


def dataset_card(name: str, settings: PlanSettings, columns: Columns) -> str:
    """The card's text. Depends on columns and settings alone."""
    shown = settings.sidecar_columns(columns)
    lines = [
        "---",
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        f"    path: shards/{name}-*.tar",
    ]
    lines += [
        "dataset_info:",
        "  features:",
        "  - name: __key__",
        "    dtype: string",
        "  - name: __url__",
        "    dtype: string",
    ]
    for ext in settings.members:
        lines += _member(ext, shown)
    members = ", ".join(f"`KEY.{ext}`" for ext in settings.members)
    lines += ["---", "", f"# {name}", "", f"WebDataset shards made by shardpipe. Each clip has {members}.", ""]
    lines += ["    webdataset.WebDataset(open('urls.txt').read().split(), shardshuffle=False)", ""]
    if left_out := [f"`KEY.{ext}`" for ext in settings.members if _is_decoded(ext)]:
        lines += [f"`datasets` leaves out {', '.join(left_out)}; `webdataset` gives all.", ""]
    lines += ["`urls.txt` lists the shards, `wids.json` describes them, `index.parquet` has one row a clip.", ""]
    if "json" in settings.members:
        lines += ["| column | type |", "|---|---|", *(f"| `{column}` | {kind} |" for column, kind in shown.items()), ""]
        lines += ["A missing value is null.", ""]
    return "\n".join(lines)


def _member(ext: str, columns: Columns) -> list[str]:
    """The feature of one member; none where Hugging Face's reader would not give what is declared."""
    if ext == "json":
        fields = [line for column, kind in columns.items() for line in _feature(column, kind)]
        return ["  - name: json", "    struct:", *(f"    {line}" for line in fields)]
    if _is_decoded(ext):
        return []
    return [f"  - name: {ext}", f"    dtype: {FEATURES.get(_last(ext), 'binary')}"]


def _is_decoded(ext: str) -> bool:
    return _last(ext) in DECODED


def _last(ext: str) -> str:
    """`webp` of `f00.webp`: readers go by it."""
    return ext.rpartition(".")[2].lower()


def _feature(column: str, kind: ColumnType) -> list[str]:
    """The feature of one column of the sidecar; scalars are called there as here."""
    return [
        f"- name: {json.dumps(column, ensure_ascii=False)}",
        f"  {'list' if kind.is_list else 'dtype'}: {kind.scalar}",
    ]
