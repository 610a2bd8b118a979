"""`shardpipe captions ROOT`: captions of a pass, or of two side by side with what differs, and what can be counted of them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from shardpipe.cli.arguments import AsJson, Root

if TYPE_CHECKING:
    from shardpipe.engine.views.captions import Caption, Comparison, Sample


def command(
    root: Root,
    *,
    pass_name: Annotated[
        str | None,
        typer.Option(
            "--pass", metavar="A", help="The pass. Default: the two that wrote the column last, or the only one."
        ),
    ] = None,
    against: Annotated[str | None, typer.Option(metavar="B", help="Another pass, to stand beside it.")] = None,
    column: Annotated[str, typer.Option(metavar="NAME", help="The column of captions.")] = "text",
    against_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="That of the other side, of B or of the same pass. Default: the same."),
    ] = None,
    num: Annotated[int, typer.Option(min=0, metavar="N", help="How many clips to show.")] = 10,
    seed: Annotated[int, typer.Option(metavar="N", help="Another number shows other clips.")] = 0,
    where: Annotated[
        str | None, typer.Option(metavar="RULE", help='A rule on the rows of A: only these clips. "match < 20"')
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="KEY", help="Show this clip alone.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show sampled captions of a pass, or of two side by side with the words that differ, and count them."""
    from shardpipe.cli.captiontext import write_comparison, write_sample  # noqa: PLC0415  --help must not wait for numpy
    from shardpipe.cli.output import write_json  # noqa: PLC0415
    from shardpipe.engine.passes.rules import Rule  # noqa: PLC0415
    from shardpipe.engine.views.captions import choose_sides, compare, one_clip  # noqa: PLC0415
    from shardpipe.storage.store import open_store  # noqa: PLC0415

    rule = None if where is None else Rule(where)
    sides = choose_sides(open_store(root, read_only=True), pass_name, against, column, against_column)
    names = [f"{side.dataset.name}.{side.column}" for side in sides]
    if key is not None:
        sample = one_clip(sides, key)
        if as_json:
            write_json(_sample_record(sample, names))
        else:
            write_sample(sample, names)
        return
    found = compare(sides, num=num, seed=seed, where=rule)
    if as_json:
        write_json(_record(found, names))
    else:
        write_comparison(found, names)


def _record(found: "Comparison", names: list[str]) -> dict[str, Any]:
    from dataclasses import asdict  # noqa: PLC0415

    return {
        "sides": [asdict(each) for each in found.totals],
        "pairs": None if found.pairs is None else asdict(found.pairs),
        "samples": [_sample_record(each, names) for each in found.samples],
    }


def _sample_record(sample: "Sample", names: list[str]) -> dict[str, Any]:
    from shardpipe.engine.views.textdiff import marked  # noqa: PLC0415

    captions = [_caption_record(each, name) for each, name in zip(sample.captions, names, strict=True)]
    texts = [each.text for each in sample.captions]
    if len(texts) > 1 and all(text is not None for text in texts):
        parts = marked(texts[0] or "", texts[1] or "")
        for record, side in zip(captions, parts, strict=True):
            record["parts"] = [{"text": text, "differs": differs} for text, differs in side]
    return {"key": sample.key, "captions": captions}


def _caption_record(caption: "Caption", name: str) -> dict[str, Any]:
    return {"of": name, "text": caption.text, "details": dict(caption.details)}
