import random
from typing import Any

import pytest
from support.rule_sets import check, kept, rule_set

from shardpipe.core.columns import Columns, bool_, float32, float64, int64, list_of, string
from shardpipe.core.errors import ConfigError
from shardpipe.engine.passes.rules import Rule

SCHEMA: Columns = {
    "key": string,
    "duration_s": float64,
    "aes": float32,
    "flow_px_s": float64,
    "cmotion": list_of(string),
    "text": string,
    "num_frames": int64,
    "has_audio": bool_,
}


def clip(**values: Any) -> dict[str, Any]:
    return {"key": "a", **values}


@pytest.mark.parametrize(
    ("text", "row", "is_kept"),
    [
        ("aes >= 4.5", clip(aes=4.5), True),
        ("aes >= 4.5", clip(aes=4.4), False),
        ("aes >= 4.5", clip(aes=None), False),
        ("aes >= 4.5", clip(), False),
        ("NOT (aes < 4.5)", clip(aes=None), False),
        ("aes IS NULL OR aes >= 4.5", clip(aes=None), True),
        ('AES >= 4.5 AND "Aes" < 9', clip(aes=5.0), True),
        ("flow_px_s BETWEEN 2 AND 200", clip(flow_px_s=200.0), True),
        ("NOT list_contains(cmotion, 'static')", clip(cmotion=["pan_left"]), True),
        ("NOT list_contains(cmotion, 'static')", clip(cmotion=["static"]), False),
        ("NOT list_contains(cmotion, 'static')", clip(cmotion=None), False),
        ("len(list_filter(cmotion, lambda m: m LIKE 'pan%')) = 1", clip(cmotion=["pan_left", "shake"]), True),
        ("text ILIKE '%-- not a comment; (%'", clip(text="x -- NOT a comment; ( x"), True),
        ("num_frames IN (1, 2, 3)", clip(num_frames=3), True),
        ("has_audio", clip(has_audio=True), True),
        ("NOT has_audio", clip(has_audio=True), False),
        ("CASE WHEN has_audio THEN aes > 1 ELSE false END", clip(has_audio=True, aes=2.0), True),
        ("TRY_CAST(text AS INT) > 3", clip(text="four"), False),
        ("nullif(num_frames, 0) IS NOT NULL", clip(num_frames=0), False),
        ("list_sum([num_frames, 1]) = 4", clip(num_frames=3), True),
        ("regexp_matches(text, '^a.c$')", clip(text="abc"), True),
        ("aes + num_frames - 1 > 3 AND -aes < 0", clip(aes=2.5, num_frames=2), True),
        ("aes * 2 / 3 % 2 > 1 AND num_frames // 2 = 1 AND aes ** 2 > 6", clip(aes=2.5, num_frames=3), True),
        ("year(text::DATE) >= 2020 AND text::DATE + 1 > DATE '2020-06-01'", clip(text="2020-06-01"), True),
        ("month(text::TIMESTAMPTZ) = 6", clip(text="2020-06-30 23:59:59+00"), True),
        ("true", clip(), True),
    ],
)
def test_a_rule_keeps_what_it_is_true_of(text: str, row: dict[str, Any], *, is_kept: bool) -> None:
    rules = rule_set(text)
    check(rules, SCHEMA)
    assert kept(rules, [row], SCHEMA) == [is_kept]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n",
        "aes >",
        "aes > 1)",
        "(aes > 1",
        "aes > 1) OR (1 = 1",
        "aes > 1); DROP TABLE clips; SELECT (1 = 1",
        "aes > 1; SELECT true",
        "aes > 1 -- ",
        "aes > 1 /* x */",
        "/* x */ aes > 1",
        "aes > 1) -- ",
        "aes > 1 /*",
        "aes > 1\0",
        "aes > 1 AS x",
        "has_audio x",
        "x: has_audio",
        "aes > 1, num_frames > 1",
        "aes > 1 FROM clips",
        "aes > 1 WHERE true",
        "aes > 1 ORDER BY aes",
        "aes > 1 LIMIT 1",
        "aes > 1 GROUP BY aes",
        "aes > 1 QUALIFY true",
        "has_audio UNION SELECT true",
        "DISTINCT has_audio",
        "ALL has_audio",
        "TABLE clips",
        "*",
        "COLUMNS('aes') > 1",
        "?",
        "$limit",
        "#1",
        "DEFAULT",
        "clips.aes > 1",
        "(SELECT true)",
        "EXISTS (SELECT 1)",
        "aes IN (SELECT 1)",
        "aes > ANY ([1, 2])",
        "count(*) > 1",
        "max(aes) > 1",
        "any_value(aes) FILTER (WHERE has_audio) > 1",
        "row_number() OVER () = 1",
        "avg(aes) OVER () > 1",
        "grouping(aes) = 1",
        "random() > 0.5",
        "list_transform(cmotion, lambda x: random()) = [1]",
        "uuid() = key",
        "gen_random_uuid() IS NULL",
        "now() > '2020-01-01'",
        "today() > '2020-01-01'",
        "current_date > '2020-01-01'",
        "current_timestamp IS NOT NULL",
        "current_localtime() IS NOT NULL",
        "current_localtimestamp() IS NOT NULL",
        "localtime IS NOT NULL",
        "age(TIMESTAMP '2020-01-01') > INTERVAL 1 DAY",
        "ago(INTERVAL 1 DAY) > '2020-01-01'",
        "current_setting('threads') = '1'",
        "getvariable('x') = 1",
        "getenv('HOME') = '/root'",
        "nextval('x') > 1",
        "txid_current() > 1",
        "version() = 'v'",
        "current_user = 'x'",
        "current_query() = 'x'",
        "setseed(0.5) IS NULL",
        "error('x')",
        "sleep_ms(1) IS NULL",
        "write_log('x') IS NULL",
        "read_text('/etc/passwd') = 'x'",
        "query('SELECT 1') = 1",
        "unnest(cmotion) = 'x'",
        "list_aggregate([aes], 'reservoir_quantile', 0.5) > 1",
        "list_aggregate([aes], text) > 1",
        "no_such_function(aes) > 1",
        "text.len() > 1",
        "text -> 'x' IS NULL",
        "rowid = 1",
        "(" * 3000 + "true" + ")" * 3000,
        "aes",
        "text",
        "NULL",
        "num_frames + 1",
        "text > 3",
        "cmotion > 3",
        "list_contains(cmotion)",
        "CAST(text AS no_such_type) = 1",
        "CAST('x' AS INT) = 1",
    ],
)
def test_what_is_no_boolean_expression_of_one_clip_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Rule(text).check(SCHEMA)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("aess > 4", "no column aess; did you mean aes?"),
        ("duration > 4", "did you mean duration_s?"),
        ("num_frame > 4", "did you mean num_frames?"),
        ("zzz > 4", "columns: key, duration_s, aes"),
        ("lenght(text) > 4", "did you mean length"),
    ],
)
def test_a_misspelt_name_gets_a_suggestion(text: str, hint: str) -> None:
    with pytest.raises(ConfigError, match="rule") as caught:
        Rule(text).check(SCHEMA)
    assert hint in str(caught.value)


def test_columns_and_binding() -> None:
    rule = Rule("aes > 4 AND len(list_filter(cmotion, lambda Text: Text = 'x')) > NUM_frames")
    assert rule.columns == {"aes", "cmotion", "num_frames"}
    assert not rule.binds({"aes": float32})
    assert rule.binds(SCHEMA)
    rules = rule_set("key <> ''", "aes > 4")
    now = rules.binding({"key": string})
    assert [rule.text for rule in now.rules] == ["key <> ''"]
    assert [rule.text for rule in rules.without(now).rules] == ["aes > 4"]


def test_dropped_by_names_the_first_rule_that_is_not_true() -> None:
    rules = rule_set("aes > 4", "num_frames > 10")
    rows = [
        clip(aes=5.0, num_frames=11),
        clip(aes=3.0, num_frames=1),
        clip(aes=5.0, num_frames=None),
        clip(num_frames=11),
    ]
    assert rules.dropped_by(rows, SCHEMA) == [None, "aes > 4", "num_frames > 10", "aes > 4"]


def test_a_rule_is_evaluated_only_where_the_ones_before_it_hold() -> None:
    rules = rule_set("regexp_matches(text, '^[0-9]+$')", "text::INT > 3")
    assert kept(rules, [clip(text="x"), clip(text="4"), clip(text="3")], SCHEMA) == [False, True, False]


def test_a_value_that_a_rule_cannot_take_is_an_error_that_names_rule_and_clip() -> None:
    rules = rule_set("num_frames > 0", "text::INT > 3")
    check(rules, SCHEMA)
    with pytest.raises(ConfigError, match=r"text::INT > 3.*clip bad.*TRY_CAST"):
        kept(rules, [clip(text="4", num_frames=1), {"key": "bad", "text": "x", "num_frames": 1}], SCHEMA)


def test_the_kept_set_does_not_depend_on_batches() -> None:
    generator = random.Random(3)
    rows = [
        clip(
            aes=generator.choice([None, generator.random() * 10]),
            num_frames=generator.randrange(100),
            cmotion=generator.choice([None, [], ["static"], ["pan_left", "shake"]]),
        )
        for _ in range(500)
    ]
    rules = rule_set(
        "aes >= 4.5 OR num_frames % 7 = 3", "NOT list_contains(cmotion, 'static')", "hash(num_frames) % 5 > 0"
    )
    whole = rules.dropped_by(rows, SCHEMA)
    assert 0 < whole.count(None) < 500
    for size in (1, 7, 499):
        parts = [text for i in range(0, 500, size) for text in rules.dropped_by(rows[i : i + size], SCHEMA)]
        assert parts == whole


def test_values_are_compared_as_they_are_stored() -> None:
    one_third = 1 / 3  # not a float32
    assert kept(rule_set("aes = 0.33333334326744079589"), [clip(aes=one_third)], SCHEMA) == [True]


def test_time_zones_do_not_matter() -> None:
    text = "TIMESTAMPTZ '2020-06-01 00:00:00+00'::VARCHAR = '2020-06-01 00:00:00+00'"
    assert kept(rule_set(text), [clip()], SCHEMA) == [True]


def test_no_rules_and_no_rows() -> None:
    assert kept(rule_set(), [clip()], SCHEMA) == [True]
    assert kept(rule_set("aes > 1"), [], SCHEMA) == []
