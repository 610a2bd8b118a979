"""Rules: which clips go on. A rule is one boolean SQL expression on a clip's columns; null means not kept, as in SQL.

A rule never sees another clip, a clock, a file or a random number, so what it keeps does not depend on batches,
machines or runs. Rules stand in an order, and a rule is evaluated only for clips that the ones before it kept: a cast
may be guarded by an earlier rule. A value on which a rule cannot be evaluated at all (a text that is no number in
`text::INT > 3`) is a ConfigError, since only another rule helps; TRY_CAST and CASE avoid it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from shardpipe.core.columns import Columns, ColumnType
from shardpipe.core.errors import ConfigError
from shardpipe.engine.expression import Expression, parse, unknown_column
from shardpipe.engine.sandbox import SqlError, evaluate
from shardpipe.storage.rows import arrow_type

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Rule:
    """One rule. Raises ConfigError where `text` is not one expression that a rule may be."""

    text: str
    columns: frozenset[str] = field(init=False)
    """The columns that it names, lower case (SQL names have no case)."""
    expression: Expression = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        expression = parse(self.text)
        object.__setattr__(self, "expression", expression)
        object.__setattr__(self, "columns", frozenset(name.lower() for name in expression.columns))

    def binds(self, schema: Columns) -> bool:
        """Whether every column it names is there."""
        return self.columns <= {name.lower() for name in schema}

    def check(self, schema: Columns) -> None:
        """Raise ConfigError unless it is a boolean expression over `schema`, with a suggestion for a misspelt column."""
        there = {name.lower() for name in schema}
        for name in self.expression.columns:
            if name.lower() not in there:
                raise ConfigError(f"rule {self.text!r}: {unknown_column(name, schema)}")
        try:
            kind, _ = evaluate(f"(\n{self.text}\n)", _table([{}], _used([self], schema)))  # one clip of nulls
        except SqlError as error:
            raise ConfigError(f"rule {self.text!r} does not fit the columns' types: {error}") from None
        if kind != "BOOLEAN":
            raise ConfigError(
                f"rule {self.text!r} gives {kind}, not true or false: compare it with something (`... > 0`)"
            )


@dataclass(frozen=True)
class RuleSet:
    """Rules in order."""

    rules: tuple[Rule, ...]

    def binding(self, schema: Columns) -> "RuleSet":
        """The rules whose columns are all in `schema`, in order."""
        return RuleSet(tuple(rule for rule in self.rules if rule.binds(schema)))

    def without(self, other: "RuleSet") -> "RuleSet":
        """These rules less those of `other`: what is still to run after `other` has run."""
        return RuleSet(tuple(rule for rule in self.rules if rule not in other.rules))

    def dropped_by(self, rows: Sequence[Row], schema: Columns) -> list[str | None]:
        """For each row the text of the first rule that is not true of it; None: kept.

        `rows` are dicts; a column of `schema` that a row lacks is null. A pure function of each row alone.
        """
        if not self.rules or not rows:
            return [None] * len(rows)
        cases = " ".join(f"WHEN ((\n{rule.text}\n) IS NOT TRUE) THEN {i}" for i, rule in enumerate(self.rules))
        table = _table(rows, _used(self.rules, schema))
        try:
            _, first = evaluate(f"CASE {cases} ELSE -1 END", table)
        except SqlError as error:
            raise self._failed(rows, schema, error) from None
        return [None if i < 0 else self.rules[i].text for i in first]

    def _failed(self, rows: Sequence[Row], schema: Columns, error: SqlError) -> ConfigError:
        """The error for the first rule, and the first clip, that cannot be evaluated."""
        for rule in self.rules:
            rule.check(schema)
        alive = list(rows)
        for rule in self.rules:
            left = []
            for row in alive:
                try:
                    _, (kept,) = evaluate(f"(\n{rule.text}\n)", _table([row], _used([rule], schema)))
                except SqlError as cause:
                    return ConfigError(
                        f"rule {rule.text!r} cannot be evaluated for clip {row.get('key')}: {cause}. "
                        "Use TRY_CAST, or CASE WHEN ... to guard it"
                    )
                left += [row] if kept else []
            alive = left
        return ConfigError(f"rules {[rule.text for rule in self.rules]}: {error}")


def _used(rules: Sequence[Rule], schema: Columns) -> dict[str, ColumnType]:
    """The part of `schema` that these rules name."""
    wanted = frozenset[str]().union(*(rule.columns for rule in rules))
    return {name: kind for name, kind in schema.items() if name.lower() in wanted}


def _table(rows: Sequence[Row], columns: Columns) -> pa.Table:
    """`rows` as an Arrow table; with no column named (a constant rule), a table with one column of nulls."""
    if not columns:
        return pa.table({"": pa.nulls(len(rows))})
    return pa.table(
        {name: pa.array([row.get(name) for row in rows], arrow_type(kind)) for name, kind in columns.items()}
    )
