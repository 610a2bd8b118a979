"""Any text is either a rule or a ConfigError, and what a rule keeps does not depend on how rows are batched."""

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st
from support.rule_sets import kept, rule_set

from shardpipe.core.columns import Columns, bool_, float32, int64, list_of, string
from shardpipe.core.errors import ConfigError
from shardpipe.engine.passes.rules import Rule

SCHEMA: Columns = {"a": float32, "n": int64, "t": string, "l": list_of(string), "b": bool_}
TOKENS = [
    "a",
    "n",
    "t",
    "l",
    "b",
    "(",
    ")",
    "1",
    "'x'",
    ">",
    "=",
    "AND",
    "NOT",
    ",",
    ";",
    "--",
    "/*",
    "SELECT",
    "FROM",
    "AS",
    "random()",
    "*",
    "[",
    "]",
]

rows = st.lists(
    st.fixed_dictionaries(
        {
            "a": st.none() | st.floats(-10, 10, width=32),
            "n": st.none() | st.integers(-5, 5),
            "t": st.none() | st.text("ax1", max_size=3),
            "l": st.none() | st.lists(st.sampled_from(["x", "y"]), max_size=2),
            "b": st.none() | st.booleans(),
        }
    ),
    min_size=1,
    max_size=12,
)
atoms = st.sampled_from(
    ["a > 1", "n % 2 = 0", "t LIKE 'a%'", "list_contains(l, 'x')", "b", "n IS NULL", "a BETWEEN 0 AND n", "len(t) > 1"]
)
texts = st.recursive(
    atoms,
    lambda inner: (
        st.builds("({}) AND ({})".format, inner, inner)
        | st.builds("({}) OR ({})".format, inner, inner)
        | st.builds("NOT ({})".format, inner)
    ),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=8).map(" ".join) | st.text(max_size=12))
def test_any_text_is_a_rule_or_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        rule = Rule(text)
        rule.check(SCHEMA)
        assert rule.columns <= set(SCHEMA)


@settings(max_examples=50, deadline=None)
@given(st.lists(texts, min_size=1, max_size=3), rows, st.integers(1, 12))
def test_batches_do_not_matter(rules: list[str], clips: list[dict[str, object]], size: int) -> None:
    given_rules = rule_set(*rules)
    whole = given_rules.dropped_by(clips, SCHEMA)
    assert [
        text for i in range(0, len(clips), size) for text in given_rules.dropped_by(clips[i : i + size], SCHEMA)
    ] == whole
    assert whole == [next((r for r in rules if not kept(rule_set(r), [row], SCHEMA)[0]), None) for row in clips]
