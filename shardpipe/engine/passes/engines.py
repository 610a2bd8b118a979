"""Which stages of a pass share an engine, and what opens it for all of them."""

from collections.abc import Sequence

from shardpipe.core.asyncstage import AsyncStage, Opens


def engine_mates(stages: Sequence[AsyncStage]) -> list[AsyncStage]:
    """The first stage, and all that share an engine with it."""
    opens: Opens = stages[0].opens
    mates = [stages[0]]
    for each in stages[1:]:
        both = opens.joined(each.opens)
        if both is not None:
            opens = both
            mates.append(each)
    return mates


def joined_opens(stages: Sequence[AsyncStage]) -> Opens:
    """What serves all of these, which share an engine."""
    opens: Opens = stages[0].opens
    for each in stages[1:]:
        both = opens.joined(each.opens)
        assert both is not None
        opens = both
    return opens
