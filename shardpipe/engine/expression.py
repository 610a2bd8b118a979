"""One SQL expression as DuckDB's own parser sees it: what it names, and whether a rule may say it.

The text is parsed twice, bare and inside brackets, and both trees must hold the same lone expression: so nothing that
closes a bracket, adds a clause or a statement, or hides in a comment gets through. What the tree may hold is a list of
what is allowed (columns, constants, comparisons, functions of one row), never a list of what is not.
"""

import difflib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from shardpipe.core.errors import ConfigError
from shardpipe.engine.sandbox import SqlError, ask, has_comment

Node = dict[str, Any]
Refuse = Callable[[str], ConfigError]
"""Makes the error of what is wrong."""

CLASSES = frozenset(
    {
        "COLUMN_REF",
        "CONSTANT",
        "COMPARISON",
        "CONJUNCTION",
        "OPERATOR",
        "BETWEEN",
        "CASE",
        "CAST",
        "TYPE",
        "COLLATE",
        "FUNCTION",
        "LAMBDA",
    }
)
OPERATORS = frozenset(
    {
        "OPERATOR_NOT",
        "OPERATOR_IS_NULL",
        "OPERATOR_IS_NOT_NULL",
        "OPERATOR_COALESCE",
        "OPERATOR_NULLIF",
        "OPERATOR_TRY",
        "OPERATOR_CAST",
        "COMPARE_IN",
        "COMPARE_NOT_IN",
        "ARRAY_EXTRACT",
        "ARRAY_SLICE",
        "ARRAY_CONSTRUCTOR",
        "STRUCT_EXTRACT",
    }
)
REFUSED = {
    "SUBQUERY": "a subquery (a rule sees one clip)",
    "WINDOW": "a window function (a rule sees one clip)",
    "STAR": "a star (name the columns)",
    "PARAMETER": "a parameter",
    "POSITIONAL_REFERENCE": "a positional reference",
    "DEFAULT": "DEFAULT",
}
# DuckDB 2.0 lists these as CONSISTENT, but they read the clock or the library's version.
CLOCKS = frozenset({"current_localtime", "current_localtimestamp", "version"})
LIST_AGGREGATES = frozenset({"list_aggr", "list_aggregate", "array_aggr", "array_aggregate", "aggregate"})
SAMPLING_AGGREGATES = frozenset({"reservoir_quantile", "approx_quantile", "approx_top_k"})


@dataclass(frozen=True)
class Expression:
    """A parsed expression that a rule may be. `columns`: the names in it, in order of appearance, as written."""

    text: str
    columns: tuple[str, ...]


def parse(text: str) -> Expression:
    """`text` as one expression on one row; raises ConfigError that quotes it and says what is wrong."""
    try:
        root = _lone_expression(text)
        names = dict.fromkeys(_columns(root, refuse=lambda what: _refuse(text, what)))
    except RecursionError:
        raise _refuse(text, "it is nested too deeply") from None
    return Expression(text, tuple(names))


def _refuse(text: str, what: str) -> ConfigError:
    return ConfigError(f"rule {text!r}: {what}. A rule is one boolean SQL expression on the columns of one clip")


def _lone_expression(text: str) -> Node:
    if not text.strip():
        raise _refuse(text, "it is empty")
    if "\0" in text or has_comment(text):
        raise _refuse(text, "comments are not allowed in it")
    bare, bracketed = _select(text, f"SELECT {text}"), _select(text, f"SELECT (\n{text}\n)")
    empty = _select(text, "SELECT 1")
    for node in (bare, bracketed):
        items = node.get("select_list") or []
        if len(items) > 1:
            raise _refuse(text, f"it holds {len(items)} expressions separated by commas")
        if not items or {**node, "select_list": None} != {**empty, "select_list": None}:
            raise _refuse(
                text, "it holds more than an expression (a FROM, WHERE, ORDER BY, DISTINCT ... or a set operation)"
            )
        if items[0].get("alias"):
            raise _refuse(text, f"it has an alias ({items[0]['alias']!r})")
    if bare != bracketed:
        raise _refuse(text, "it means something else inside brackets")
    root: Node = bare["select_list"][0]
    return root


def _select(text: str, statement: str) -> Node:
    """The tree of a SELECT without positions in the text."""
    try:
        ((answer,),) = ask("SELECT json_serialize_sql(?::VARCHAR)", statement)
    except SqlError as error:
        raise _refuse(text, f"DuckDB cannot parse it ({error})") from None
    tree = json.loads(answer, object_hook=_without_position)
    if tree["error"]:
        raise _refuse(text, f"DuckDB cannot parse it ({tree['error_message']})")
    if len(tree["statements"]) != 1:
        raise _refuse(text, f"it holds {len(tree['statements'])} statements")
    node: Node = tree["statements"][0]["node"]
    return node


def _without_position(node: Node) -> Node:
    return {name: value for name, value in node.items() if name not in ("query_location", "query_location_length")}


def _columns(root: Node, *, refuse: Refuse, bound: frozenset[str] = frozenset()) -> Iterator[str]:
    """The columns that a tree names (no parameters of lambdas); raises what `refuse` makes of what it may not hold."""
    todo: list[tuple[Any, frozenset[str]]] = [(root, bound)]
    while todo:
        node, names = todo.pop()
        if isinstance(node, list):
            todo += [(item, names) for item in reversed(node)]
        elif isinstance(node, dict):
            if node.get("class") == "COLUMN_REF":
                column = _column(node, refuse)
                if column.lower() not in names:
                    yield column
                continue
            if "class" in node:
                _check_node(node, refuse)
            if node.get("class") == "LAMBDA":
                parameters = {name.lower() for name in _columns(node["lhs"], refuse=refuse)}
                todo.append((node["expr"], names | parameters))
                continue
            todo += [(value, names) for value in reversed(node.values()) if isinstance(value, dict | list)]


def _column(node: Node, refuse: Refuse) -> str:
    path: list[str] = node["column_names"]
    if len(path) > 1:
        raise refuse(f"{'.'.join(path)!r} is no column: write the column's name alone")
    return path[0]


def _check_node(node: Node, refuse: Refuse) -> None:
    kind, detail = node["class"], node.get("type", "")
    if kind not in CLASSES:
        raise refuse(f"it holds {REFUSED.get(kind, str(kind).lower())}")
    if kind == "OPERATOR" and detail not in OPERATORS:
        raise refuse(f"it holds {detail.removeprefix('OPERATOR_').lower()}")
    if kind == "LAMBDA" and node.get("syntax_type") == "SINGLE_ARROW":
        raise refuse("the arrow -> is ambiguous: write `lambda x: ...` or json_extract(...)")
    if kind == "FUNCTION":
        _check_function(node, refuse)


def _check_function(node: Node, refuse: Refuse) -> None:
    name = node["function_name"].lower()
    if node.get("schema") or node.get("catalog"):
        raise refuse(f"write {name}(column, ...) in place of column.{name}(...)")
    if node.get("distinct") or node.get("filter") or (node.get("order_bys") or {}).get("orders"):
        raise refuse(f"{name} has DISTINCT, FILTER or ORDER BY, as only an aggregate may (a rule sees one clip)")
    reason = objection(name)
    if reason:
        raise refuse(reason)
    arguments: list[Node] = node.get("arguments") or node.get("children") or []
    if name == "age" and len(arguments) < 2:  # noqa: PLR2004  age(t) is the time since t
        raise refuse("age of one argument reads the clock: its value changes from run to run")
    if name in LIST_AGGREGATES:
        wanted = _constant(arguments[1]) if len(arguments) > 1 else None
        if (
            wanted is None
            or wanted.lower() in SAMPLING_AGGREGATES
            or _kinds().get(wanted.lower()) != {("aggregate", "CONSISTENT")}
        ):
            raise refuse(f"{name} needs the name of an exact aggregate as its second argument: 'sum', 'avg', 'max' ...")


def _constant(argument: Node) -> str | None:
    """The text of a constant argument."""
    node = argument.get("expression", argument)
    if node.get("class") != "CONSTANT":
        return None
    literal = node.get("literal") or node.get("value") or {}
    value = literal.get("text", literal.get("value"))
    return value if isinstance(value, str) else None


@cache
def _kinds() -> Mapping[str, set[tuple[str, str | None]]]:
    """Each function's kinds and stabilities, as DuckDB lists them, of all its overloads.

    Some releases list the overloads of `+`, `year` and others that take a TIMESTAMPTZ as CONSISTENT_WITHIN_QUERY: they
    read the session's time zone, which is UTC here.
    """
    found: dict[str, set[tuple[str, str | None]]] = {}
    for name, kind, stability, zoned in ask(
        "SELECT function_name, function_type, stability, list_has_any(parameter_types, "
        "['TIMESTAMP WITH TIME ZONE', 'TIMESTAMPTZ_NS']) FROM duckdb_functions()"
    ):
        same = zoned and stability == "CONSISTENT_WITHIN_QUERY"
        found.setdefault(name.lower(), set()).add((kind, "CONSISTENT" if same else stability))
    return found


@cache
def objection(name: str) -> str | None:
    """Why a rule may not call this function (lower-case name); None if it may: one row in, the same value each time."""
    kinds = _kinds().get(name)
    if kinds is None or name.startswith("__"):
        near = difflib.get_close_matches(name, [n for n in _kinds() if n[0].isalpha()], n=3)
        return f"there is no function {name}" + (f"; did you mean {' or '.join(near)}?" if near else "")
    for kind, stability in sorted(kinds, key=str):
        match kind:
            case "scalar" if stability != "CONSISTENT" or name in CLOCKS:
                return f"{name} does not give the same value for the same clip each time (DuckDB: {stability})"
            case "scalar" | "macro":
                pass
            case "aggregate" | "window":
                return (
                    f"{name} is an aggregate (a rule sees one clip; for the whole Dataset, let a pass write a column)"
                )
            case _:
                return f"{name} is a {kind} function, not one of a clip's columns"
    return _macro_objection(name) if any(kind == "macro" for kind, _ in kinds) else None


def _macro_objection(name: str) -> str | None:
    """Why a built-in macro may not be called: it must expand to what a rule may say of its own parameters."""
    for definition, parameters in ask(
        "SELECT macro_definition, parameters FROM duckdb_functions() "
        "WHERE function_type = 'macro' AND lower(function_name) = ?",
        name,
    ):
        try:
            outside = list(
                _columns(
                    _lone_expression(definition), refuse=ConfigError, bound=frozenset(p.lower() for p in parameters)
                )
            )
        except ConfigError as error:
            return f"{name} stands for {definition}: {error}"
        if outside:
            return f"{name} stands for {definition}, which does not depend on the clip alone"
    return None


def unknown_column(name: str, known: Mapping[str, object]) -> str:
    """`there is no column aess; did you mean aes?`, with all columns that there are."""
    near = difflib.get_close_matches(name.lower(), list(known), n=3, cutoff=0.6)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"there is no column {name}{hint} (columns: {', '.join(known)})"
