"""What identifies a pass's rows: its stages and rules in their order, and what it reads."""

from collections.abc import Mapping
from typing import Any

from shardpipe.engine.passes.program import Program, StageStep


def pass_identity(program: Program, *, inputs: Mapping[str, str]) -> dict[str, Any]:
    """What the fingerprint of a pass's rows hashes: steps in order, and the fingerprints of its inputs by name."""
    steps: list[dict[str, Any]] = []
    for step in program.steps:
        if isinstance(step, StageStep):
            if step.is_shared:  # it follows from the stages that share it
                continue
            names = {own: name for name, (own, _) in [*step.columns.items(), *step.members.items()] if own != name}
            steps.append(
                {
                    "stage": step.stage.identity,
                    "on_error": step.stage.on_error,
                    **({"shares": [each.identity for each in step.stage.shares]} if step.shared else {}),
                    **({"weights": dict(step.weights)} if step.weights else {}),
                    **({"rename": names} if names else {}),
                }
            )
        else:
            steps.append({"keep": [rule.text for rule in step.rules]})
    stills: dict[str, Any] = {"cached_frames": program.num_stills} if program.num_stills else {}
    if program.stills_only:
        stills["frames_from"] = "members_only"
    return {
        "steps": steps,
        **stills,
        **({"looks_back": True} if program.looking_back else {}),
        "inputs": dict(inputs),
        "results": {c: program.results[c] for c in sorted(program.columns)},
    }
