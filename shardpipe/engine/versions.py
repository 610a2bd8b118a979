"""What made a Dataset: the versions of shardpipe and of the libraries that results depend on. Lineage, no part of a fingerprint."""

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

LIBRARIES = ("shardpipe", "av", "numpy", "opencv-python-headless", "pyarrow", "scenedetect-headless", "duckdb")


def library_versions() -> dict[str, str]:
    """Name to version, of those that are installed."""
    found = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):  # an other build of the same library, such as opencv-python
            found[name] = version(name)
    return found
