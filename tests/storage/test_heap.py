"""Freed memory of large reads is used again."""

import platform
import subprocess
import sys

import pytest

CHILD = """
import resource
from shardpipe.storage.heap import keep_freed_memory
{call}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def reads():
    blocks = [b"x" * (8 << 20) for _ in range(4)]
for _ in range(3):
    reads()
before = faults()
for _ in range(3):
    reads()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what this C library keeps is its own affair")
def test_large_blocks_are_not_fresh_memory_each_time() -> None:
    def num_faults(call: str) -> int:
        return int(
            subprocess.run([sys.executable, "-c", CHILD.format(call=call)], capture_output=True, check=True).stdout
        )

    pages = 3 * 4 * (8 << 20) // 4096
    assert num_faults("") > pages / 2
    assert num_faults("keep_freed_memory()") < pages / 10
