"""Emitted Datasets: planned from committed rows, and written shard by shard."""
