"""Runs the benchmarks that were asked for; exit 1 if one misses its bar."""

import argparse
import sys
from pathlib import Path

import cut
import decode
import emit
import engine
import memory
import models
import score
import supply
from measure import Table

BENCHMARKS = {
    "cut": cut.bench,
    "decode": decode.bench,
    "score": score.bench,
    "engine": engine.bench,
    "supply": supply.bench,
    "emit": emit.bench,
    "memory": memory.bench,
    "models": models.bench,
}


def main() -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], default=list(BENCHMARKS), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is taken")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there")
    arguments = parser.parse_args()
    table = Table()
    for name in arguments.names:
        BENCHMARKS[name](table, rounds=arguments.rounds)
    if arguments.json is not None:
        table.write(arguments.json)
    return 0 if all(row["ok"] for row in table.rows) else 1


if __name__ == "__main__":
    sys.exit(main())
