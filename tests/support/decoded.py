"""How many frames the sampling of clips decodes."""

from typing import Any

import pytest

from shardpipe.media import packetstore


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A list that each frame decoded from now on is put into."""
    seen: list[Any] = []
    frames = packetstore.frames

    def counted(*args: Any, **kwargs: Any) -> Any:
        for frame in frames(*args, **kwargs):
            seen.append(frame.pts)
            yield frame

    monkeypatch.setattr(packetstore, "frames", counted)
    return seen
