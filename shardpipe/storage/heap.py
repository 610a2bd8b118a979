"""Memory for large reads and parts: kept when it is freed, not given back to the system and asked for again each time."""

LARGEST = (32 << 20) - (64 << 10)
"""What glibc learns from, at most."""


def keep_freed_memory() -> None:
    """Teach the C library that large blocks come and go.

    glibc maps each block above 128 KiB anew, and every fresh page costs a fault: half of the CPU time of ranged reads,
    measured. But once it has freed a large block it takes those up to that size from its heap, and keeps twice as much
    of that. So one is freed here, before any page of it was touched. Other C libraries are none the worse for it.
    """
    block = bytes(LARGEST)
    del block
