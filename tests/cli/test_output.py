"""Numbers and tables as people read them."""

import math
from datetime import date
from decimal import Decimal

import pytest

from shardpipe.cli.output import clock, hours, money, num_bytes, share, table_lines, write_json


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (num_bytes(None), "-"),
        (num_bytes(999), "999 B"),
        (num_bytes(1500), "1.5 kB"),
        (num_bytes(10**18), "1000.0 PB"),
        (hours(None), "-"),
        (hours(0), "0"),
        (hours(36), "0.0100"),
        (hours(5400), "1.50"),
        (hours(3600 * 12345), "12,345"),
        (share(1, 8), "12.5%"),
        (share(0, 0), "-"),
        (money(None), "-"),
        (money(0.00421), "0.0042"),
        (money(0), "0.00"),
        (money(0.000007), "0.0000070"),
        (money(1234.5), "1,234.50"),
        (clock(None), "-"),
        (clock(61), "1:01"),
        (clock(3723), "1:02:03"),
    ],
)
def test_numbers(found: str, expected: str) -> None:
    assert found == expected


def test_any_value_of_a_query_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    write_json(
        {
            "sum": Decimal(7),
            "mean": Decimal("0.5"),
            "nan": math.nan,
            "day": date(2024, 5, 1),
            "raw": b"\xff",
            "list": (1,),
        }
    )
    assert (
        capsys.readouterr().out
        == '{"sum": 7, "mean": 0.5, "nan": null, "day": "2024-05-01", "raw": "ff", "list": [1]}\n'
    )


def test_table() -> None:
    assert table_lines(["name", "n"], [["a", "1"], ["long name", "100"]]) == [
        "name         n",
        "a            1",
        "long name  100",
    ]


def test_a_cell_is_one_line() -> None:
    assert table_lines(["n\u00e4me"], [["a\nb\x1b[31m \u65e5"]]) == ["n\u00e4me", "a\\nb\\x1b[31m \u65e5"]
