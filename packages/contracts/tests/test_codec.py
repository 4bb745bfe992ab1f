"""Nouns to JSON and back: nothing is lost, and equal values give equal text."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agentloop.contracts import (
    ColumnSchema,
    DataSchema,
    canonical_json,
    from_dict,
    models,
    monitoring,
    runs,
    spec_errors,
    to_dict,
    traffic,
)
from agentloop.contracts import data as data_nouns

NOUNS = [
    noun
    for module in (data_nouns, models, monitoring, runs, traffic, spec_errors)
    for noun in vars(module).values()
    if isinstance(noun, type) and dataclasses.is_dataclass(noun) and not issubclass(noun, Exception)
]

# What JSON can hold: no NaN, no infinity, no lone surrogate.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False)
plain = st.none() | st.booleans() | st.integers() | numbers | texts
values = st.recursive(
    plain, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=9
)


def mappings(annotation):
    key, value = get_args(annotation)
    held = values if value is Any else st.from_type(value)
    return st.dictionaries(st.from_type(key), held, max_size=2)


st.register_type_strategy(float, numbers)
st.register_type_strategy(str, texts)
st.register_type_strategy(Mapping, mappings)


@pytest.mark.parametrize("noun", NOUNS, ids=lambda n: n.__name__)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_noun_survives_a_trip_through_json(noun, data):
    original = data.draw(st.from_type(noun))
    assert from_dict(noun, json.loads(json.dumps(to_dict(original)))) == original


@pytest.mark.parametrize("noun", NOUNS, ids=lambda n: n.__name__)
def test_a_noun_is_frozen(noun):
    assert noun.__dataclass_params__.frozen


def test_a_value_that_does_not_fit_is_refused():
    with pytest.raises(ValidationError, match="kind"):
        from_dict(ColumnSchema, {"name": "a", "kind": "colour"})


@settings(deadline=None)
@given(st.dictionaries(texts, values))
def test_canonical_json_forgets_the_order_of_keys(value):
    again = dict(reversed(list(value.items())))
    assert canonical_json(value) == canonical_json(again)
    assert json.loads(canonical_json(value)) == value


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_canonical_json_refuses_what_is_not_json(number):
    with pytest.raises(ValueError):
        canonical_json({"value": number})


def test_equal_schemas_have_equal_digests_and_others_do_not():
    column = ColumnSchema("a", "number")
    schema = DataSchema((column, ColumnSchema("y", "category")), "y")
    twin = from_dict(DataSchema, to_dict(schema))
    other = DataSchema((dataclasses.replace(column, nullable=False),), "y")
    assert schema.digest == twin.digest != other.digest
