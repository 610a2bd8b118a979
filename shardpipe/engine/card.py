"""The `README.md` of an emitted Dataset: a Hugging Face dataset card whose features give every column its type.

Readers that do not find them guess types from the first few samples of the first shard, and drop or change what does
not fit the guess later.
"""

from shardpipe.core.columns import Columns, ColumnType
from shardpipe.engine.plansettings import PlanSettings


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
    lines += ["`urls.txt` lists the shards, `wids.json` describes them, `index.parquet` has one row a clip.", ""]
    if "json" in settings.members:
        lines += ["| column | type |", "|---|---|", *(f"| `{column}` | {kind} |" for column, kind in shown.items()), ""]
        lines += ["A missing value is null.", ""]
    return "\n".join(lines)


def _member(ext: str, columns: Columns) -> list[str]:
    """The feature of one member."""
    if ext == "json":
        fields = [line for column, kind in columns.items() for line in _feature(column, kind)]
        return ["  - name: json", "    struct:", *(f"    {line}" for line in fields)]
    dtype = {"mp4": "video", "txt": "string"}.get(ext, "binary")
    return [f"  - name: {ext}", f"    dtype: {dtype}"]


def _feature(column: str, kind: ColumnType) -> list[str]:
    """The feature of one column of the sidecar; scalars are called there as here."""
    return [f'- name: "{column}"', f"  {'list' if kind.is_list else 'dtype'}: {kind.scalar}"]
