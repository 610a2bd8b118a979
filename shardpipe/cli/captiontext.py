"""Captions as people read them: wrapped, side by side, with the words that differ marked.

Texts are strangers': control characters, escapes of terminals and marks that turn the direction of writing are written out, and
nothing in them is markup.
"""

import sys
from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from shardpipe.cli.output import one_line, share, write_line, write_table
from shardpipe.engine.views.captions import Caption, Comparison, Sample, Totals
from shardpipe.engine.views.textdiff import Marked, marked

MARKS = (("[-", "-]", "bold red"), ("{+", "+}", "bold green"))
"""What stands around the words that the other side lacks, where there are no colours, and their style where there are."""

NONE = "-"
MAX_DETAIL = 120
MAX_SHOWN = 5000
"""Characters of a caption that are shown; a loop may be a million long."""


def write_comparison(found: Comparison, names: Sequence[str]) -> None:
    """The sample, then the totals."""
    for sample in found.samples:
        write_sample(sample, names)
        write_line("")
    header = ["captions of", "units", "clips", "texts", "null", "errors", "mean words", "truncated"]
    write_table(header, [_totals_row(each, name) for each, name in zip(found.totals, names, strict=True)])
    for each, name in zip(found.totals, names, strict=True):
        if each.finishes:
            counts = ", ".join(f"{finish} {count:,}" for finish, count in each.finishes.items())
            write_line(one_line(f"{name} ended with: {counts}"))
    if found.pairs is not None:
        pairs = found.pairs
        equal = f"{pairs.num_equal:,} ({share(pairs.num_equal, pairs.num_both)}) the same"
        write_line(
            f"{pairs.num_both:,} clips have both, {equal}; only {names[0]}: {pairs.num_only_a:,}, only {names[1]}: {pairs.num_only_b:,}"
        )


def _totals_row(totals: Totals, name: str) -> list[str]:
    mean = NONE if totals.mean_words is None else f"{totals.mean_words:.1f}"
    truncated = (
        NONE
        if totals.num_truncated is None
        else f"{totals.num_truncated:,} ({share(totals.num_truncated, totals.num_clips)})"
    )
    num_null = totals.num_clips - totals.num_texts
    counts = [f"{totals.num_units_done}/{totals.num_units}", f"{totals.num_clips:,}", f"{totals.num_texts:,}"]
    return [
        name,
        *counts,
        f"{num_null:,} ({share(num_null, totals.num_clips)})",
        f"{totals.num_errors:,}",
        mean,
        truncated,
    ]


def write_sample(sample: Sample, names: Sequence[str]) -> None:
    """One clip: its key, then a column a side."""
    console = Console(file=sys.stdout, markup=False, emoji=False, highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=True)
    for name in names:
        table.add_column(Text(one_line(name), style="underline"), ratio=1, overflow="fold")
    table.add_row(*_texts([each.text for each in sample.captions], console.color_system is not None))
    if any(each.details for each in sample.captions):
        table.add_row(*(_details(each) for each in sample.captions))
    _write(console, Text(one_line(sample.key), style="bold"), table)


def _texts(texts: Sequence[str | None], in_colour: bool) -> list[Text]:  # noqa: FBT001
    shown = [text and text[:MAX_SHOWN] for text in texts]
    if len(texts) == 1 or None in texts:
        found = [Text(NONE if text is None else one_line(text)) for text in shown]
    else:
        sides = marked(shown[0] or "", shown[1] or "")
        found = [_styled(side, *marks, in_colour=in_colour) for side, marks in zip(sides, MARKS, strict=True)]
    return [part.append(_unshown(text)) for part, text in zip(found, texts, strict=True)]


def _unshown(text: str | None) -> str:
    num_more = len(text or "") - MAX_SHOWN
    return f" ... and {num_more:,} more characters: --json has them" if num_more > 0 else ""


def _styled(parts: Marked, before: str, after: str, style: str, *, in_colour: bool) -> Text:
    found = Text()
    for text, differs in parts:
        word = text.lstrip()
        found.append(one_line(text[: len(text) - len(word)]))
        marks = ("", "") if in_colour or not differs or not word else (before, after)
        found.append(f"{marks[0]}{one_line(word)}{marks[1]}", style if differs else "")
    return found


def _details(caption: Caption) -> Text:
    parts = (f"{name}={value}" for name, value in caption.details.items())
    return Text("  ".join(one_line(part)[:MAX_DETAIL] for part in parts), style="dim")


def _write(console: Console, *parts: RenderableType) -> None:
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    for line in captured.get().splitlines():
        write_line(line.rstrip())
