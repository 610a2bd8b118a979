"""Runs the benchmarks that were asked for; exit 1 if one misses its bar."""

import argparse
import sys
from pathlib import Path

import captions
import cut
import decode
import emit
import engine
import gpu
import memory
import models
import s3
import scale
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
    "s3": s3.bench,
    "models": models.bench,
    "scale": scale.bench,
    "captions": captions.bench,
    "gpu": gpu.bench,
}


def main(words: list[str]) -> int:
    """Parse the arguments and run. The table is written after each benchmark, so that a crash keeps those before it."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is taken; default: 3")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there")
    arguments = parser.parse_args(words)
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}: they are {', '.join(BENCHMARKS)}")
    if arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    table = Table()
    for name in arguments.names or BENCHMARKS:
        BENCHMARKS[name](table, rounds=arguments.rounds)
        if arguments.json is not None:
            table.write(arguments.json)
    return 1 if table.missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
