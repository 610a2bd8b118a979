"""Numbers and tables as people read them."""

import pytest

from shardpipe.cli.output import clock, hours, money, num_bytes, share, table_lines


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
        (money(1234.5), "1,234.50"),
        (clock(None), "-"),
        (clock(61), "1:01"),
        (clock(3723), "1:02:03"),
    ],
)
def test_numbers(found: str, expected: str) -> None:
    assert found == expected


def test_table() -> None:
    assert table_lines(["name", "n"], [["a", "1"], ["long name", "100"]]) == [
        "name         n",
        "a            1",
        "long name  100",
    ]
