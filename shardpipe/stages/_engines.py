"""Stages with a choice of engines, of which some are networks with weights, and others compute on the CPU without."""

from abc import ABC
from typing import Any

from shardpipe.core.stage import Stage


class EngineStage(Stage, ABC):
    """Its fields are None where its engine does not take them; its weights say whether that engine is a network."""

    @property
    def identity(self) -> dict[str, Any]:
        """Without the fields that its engine does not take."""
        return {name: value for name, value in super().identity.items() if value is not None}

    @property
    def uses_device(self) -> bool:
        """A network does."""
        return bool(self.loads)
