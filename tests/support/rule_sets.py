"""Rules from texts, and which clips they keep."""

from collections.abc import Mapping, Sequence
from typing import Any

from shardpipe.core.columns import Columns
from shardpipe.engine.passes.rules import Rule, RuleSet


def rule_set(*texts: str) -> RuleSet:
    return RuleSet(tuple(Rule(text) for text in texts))


def check(rules: RuleSet, schema: Columns) -> None:
    for rule in rules.rules:
        rule.check(schema)


def kept(rules: RuleSet, rows: Sequence[Mapping[str, Any]], schema: Columns) -> list[bool]:
    return [text is None for text in rules.dropped_by(rows, schema)]
