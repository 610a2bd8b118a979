"""Data for stdout: JSON where a machine reads, plain tables where a person does."""

import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import Any, TextIO

from shardpipe.core.errors import StoreError

UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
STEP = 1000


def write_json(value: Any, *, indent: int | None = None) -> None:  # noqa: ANN401  any JSON value
    """One JSON value and a line end."""
    write_line(json.dumps(plain(value), indent=indent, ensure_ascii=False, allow_nan=False))


def plain(value: Any) -> Any:  # noqa: ANN401  any value that a query gives
    """`value` as JSON takes it: NaN and infinity as null, decimals as numbers, times and bytes as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)


def write_line(text: str) -> None:
    """One line."""
    with _told_why():
        sys.stdout.write(text + "\n")


def flush() -> None:
    """Hand on what was written; raises BrokenPipeError where the reader has gone, StoreError where there is no room."""
    with _told_why():
        sys.stdout.flush()


def nowhere() -> TextIO:
    """A text file that keeps nothing."""
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123  the caller closes it, or never does


@contextmanager
def _told_why() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        with suppress(OSError), nowhere() as end:  # else Python tries again at exit, and complains
            os.dup2(end.fileno(), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise StoreError(f"stdout cannot be written: {error.strerror}") from error


def write_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> None:
    """Columns under their names; the first `left` columns are texts, the others numbers, set right."""
    for line in table_lines(header, rows, left=left):
        write_line(line)


def one_line(cell: str) -> str:
    """`cell` with line ends and other control characters written out: file names and messages may hold any."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in cell)


def table_lines(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> list[str]:
    """The lines of a table."""
    cells = [tuple(one_line(cell) for cell in row) for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = []
    for row in cells:
        parts = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(parts).rstrip())
    return lines


def num_bytes(count: float | None) -> str:
    """`1.5 GB`; `-` for None."""
    if count is None:
        return "-"
    value, unit = float(count), 0
    while value >= STEP and unit < len(UNITS) - 1:
        value, unit = value / STEP, unit + 1
    return f"{value:.0f} B" if unit == 0 else f"{value:.1f} {UNITS[unit]}"


def hours(seconds: float | None) -> str:
    """Hours with as many digits as tell something: `0.004`, `1.25`, `1,250`; `-` for None."""
    if seconds is None:
        return "-"
    if seconds == 0:
        return "0"
    value = seconds / 3600
    digits = 0 if value >= 100 else 2 if value >= 1 else 4  # noqa: PLR2004
    return f"{value:,.{digits}f}"


def money(amount: float | None) -> str:
    """An amount with as many digits as tell something: `0.0042`, `12.50`; `-` for None."""
    if amount is None:
        return "-"
    digits = 2 if amount >= 1 or amount == 0 else 1 - math.floor(math.log10(amount))
    return f"{amount:,.{digits}f}"


def share(part: float, whole: float) -> str:
    """`12.5%`; `-` of nothing."""
    return f"{100 * part / whole:.1f}%" if whole else "-"


def clock(seconds: float | None) -> str:
    """`1:02:03` or `2:03`; `-` for None."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    long, minutes = divmod(minutes, 60)
    return f"{long}:{minutes:02d}:{rest:02d}" if long else f"{minutes}:{rest:02d}"
