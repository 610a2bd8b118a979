"""Types as a config's author reads them."""

from typing import Annotated, Any, Literal

import pytest

from shardpipe.config.catalogue import fields_of, type_text
from shardpipe.config.models import PassConfig


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (bool, "true or false"),
        (int | None, "whole number or null"),
        (Literal["dis", "raft"], "dis or raft"),
        (Annotated[float, "x"], "number"),
        (tuple[str, ...], "list of text"),
        (dict[str, int], "mapping of text to whole number"),
        (PassConfig, "mapping"),
    ],
)
def test_type_text(annotation: Any, expected: str) -> None:
    assert type_text(annotation) == expected


def test_fields_have_the_names_of_the_file() -> None:
    found = {field.name: field for field in fields_of(PassConfig)}
    assert found["from"].default == "required"
    assert (found["shard_bytes"].kind, found["shard_bytes"].default) == ("size", "512MiB")
    assert all(field.what for field in found.values())
