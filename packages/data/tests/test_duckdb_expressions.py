"""Expressions: one scalar over the row's columns, and nothing else."""

from __future__ import annotations

import pyarrow as pa
import pytest

from agentloop.contracts import QueryRefused, SchemaMismatch
from agentloop.data.duckdb_expressions import check_expression, check_rule, evaluate, rule_mask

KINDS = {"a": "number", "B b": "text", "d": "datetime", "user": "category", "n": "integer"}
TABLE = pa.table({"a": [1.0, -2.0, None], "B b": ["x", "yy", None]})

TYPES = [
    ("a * 2 + n", "DOUBLE"),
    ('length("B b")', "BIGINT"),
    ('length("b B")', "BIGINT"),
    ("n > 1 and user = 'x'", "BOOLEAN"),
    ("date_trunc('month', d)", "TIMESTAMP"),
    ("case when A > 1 then 'high' else 'low' end", "VARCHAR"),
]


@pytest.mark.parametrize(("expression", "sql_type"), TYPES)
def test_the_type_is_known_before_any_row(expression, sql_type) -> None:
    assert check_expression(expression, KINDS) == sql_type


REFUSED = [
    "select 1",
    "(select max(a))",
    "a in (select 1)",
    "exists (select 1)",
    "sum(a)",
    "histogram(a)",
    "count(*)",
    "row_number() over ()",
    "unnest([1, 2])",
    "a; drop table x",
    "a, n",
    "",
    "a as b",
    "*",
    "columns('a')",
    "#1",
    "$1",
    "t.a",
    "list_transform([a], lambda x: x + 1)",
    "random()",
    "now()",
    "current_date",
    "today()",
    "uuid()",
    "getenv('HOME')",
    "current_setting('threads')",
    "read_text('/etc/hostname')",
    "query('select 1')",
    "nextval('s')",
    "sleep_ms(1)",
    "set threads = 9",
    "attach 'x.db'",
    "copy t to 'x'",
    "pragma version",
    "(" * 5_000 + "a" + ")" * 5_000,
    "a" + " + a" * 5_000,
    "-" + " -" * 300 + " a",
    "a -- " + "x" * 10_001,
]


@pytest.mark.parametrize("expression", REFUSED, ids=lambda text: text[:30])
def test_what_is_not_one_scalar_is_refused(expression) -> None:
    with pytest.raises(QueryRefused):
        check_expression(expression, KINDS)


def test_every_row_has_a_value() -> None:
    assert evaluate("a + 1", TABLE).to_pylist() == [2.0, -1.0, None]
    assert evaluate("upper(\"B b\") || '!'", TABLE).to_pylist() == ["X!", "YY!", None]
    assert evaluate("7", TABLE).to_pylist() == [7, 7, 7]
    assert evaluate("a", TABLE.slice(0, 0)).to_pylist() == []


def test_a_rule_fails_where_it_is_false_and_passes_where_it_is_null() -> None:
    assert rule_mask("a > 0", TABLE).tolist() == [False, True, False]


def test_a_rule_must_be_true_or_false() -> None:
    check_rule("a > 0", KINDS)
    with pytest.raises(SchemaMismatch, match="must be true or false"):
        check_rule("a + 1", KINDS)


def test_an_absent_column_names_the_nearest() -> None:
    with pytest.raises(SchemaMismatch, match="did you mean 'user'"):
        check_expression("usr = 'x'", KINDS)


def test_a_row_that_an_expression_fails_on_is_told_without_a_traceback() -> None:
    with pytest.raises(SchemaMismatch, match="Conversion Error"):
        evaluate('cast("B b" as integer)', TABLE, "data.steps[0] (derive)")


def test_columns_that_differ_in_case_are_told_apart() -> None:
    table = pa.table({"v": [1], "V": [2]})
    assert evaluate('v * 10 + "V"', table).to_pylist() == [12]
