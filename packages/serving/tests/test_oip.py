"""Request bodies: what is accepted, and that nothing else gets through or escapes as a surprise."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentloop.contracts import RequestRejected
from agentloop.lifecycle import InputColumn, Signature
from agentloop.serving.protocol.inference_request import InferenceRequest
from agentloop.serving.protocol.invocations import decode_invocations, encode_invocations
from agentloop.serving.protocol.json_body import parse_object
from agentloop.serving.protocol.oip import InferDecoder, model_metadata
from agentloop.serving.protocol.oip_answer import AnswerEncoder

MIXED = Signature(
    "m", "binary", (InputColumn("x", "FP64"), InputColumn("c", "BYTES")), "y", ("no", "yes")
)
NUMERIC = Signature(
    "m", "regression", (InputColumn("x", "FP64"), InputColumn("z", "FP64")), "y", ()
)


def decode_infer(raw, signature, header_length=None):
    return InferDecoder(signature).decode(raw, header_length)


def tensor(name, data, shape=None, datatype="FP64"):
    return {"name": name, "shape": shape or [len(data)], "datatype": datatype, "data": data}


def body(*tensors, **more):
    return json.dumps({"inputs": tensors, **more}).encode()


def reason(decode, raw, signature=MIXED):
    with pytest.raises(RequestRejected) as caught:
        decode(raw, signature)
    assert 400 <= caught.value.status < 500
    assert len(caught.value.reason) < 500
    return caught.value.reason


def test_a_tensor_a_column_becomes_columns():
    raw = body(tensor("c", ["a", None], datatype="BYTES"), tensor("x", [1, 2.5]), id="7")
    request = decode_infer(raw, MIXED)
    assert (request.rows, request.id) == (2, "7")
    np.testing.assert_array_equal(request.columns["x"], [1, 2.5])
    assert list(request.columns["c"]) == ["a", None]


def test_columns_may_have_shape_n_by_one_and_nulls():
    raw = body(tensor("x", [[1], [None]], [2, 1]), tensor("z", [3, 4], datatype="INT64"))
    request = decode_infer(raw, NUMERIC)
    np.testing.assert_array_equal(request.columns["x"], [1, np.nan])


ONE = {"shape": [1], "datatype": "FP64", "data": [1]}


@pytest.mark.parametrize(
    "odd",
    [
        {"shape": [True]},
        {"shape": [1.0]},
        {"shape": [2]},
        {"shape": []},
        {"shape": 1},
        {"data": [True]},
        {"data": ["1"]},
        {"data": [[]]},
        {"data": "1"},
        {"data": {"1": 1}},
        {"data": None},
        {"datatype": "INT8", "data": [1.5]},
        {"datatype": "BYTES"},
        {"datatype": ["FP64"]},
        {"name": "x"},
        {"name": ["z"]},
        {"parameters": {"binary_data_size": 8}},
    ],
)
def test_the_short_way_for_one_row_refuses_what_the_long_way_does(odd):
    fine = body({"name": "x", **ONE}, {"name": "z", **ONE})
    assert decode_infer(fine, NUMERIC).columns["z"].tolist() == [1]
    raw = body({"name": "x", **ONE}, {"name": "z", **ONE, **odd})
    reason(decode_infer, raw, NUMERIC)


def test_one_row_may_come_in_any_order_and_hold_nulls():
    raw = body(tensor("z", [None]), tensor("x", [7], [1, 1]))
    found = decode_infer(raw, NUMERIC)
    assert (found.columns["x"][0], np.isnan(found.columns["z"][0])) == (7, True)


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]]])
def test_one_matrix_holds_all_numeric_features_in_order(data):
    request = decode_infer(body(tensor("features", data, [2, 2])), NUMERIC)
    np.testing.assert_array_equal(request.columns["x"], [1, 3])
    np.testing.assert_array_equal(request.columns["z"], [2, 4])


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "not valid JSON"),
        (b"[]", "object"),
        (b'{"inputs": NaN}', "not valid JSON"),
        (b'{"inputs": 1e999}', "not valid JSON"),
        (b'{"id": "\\ud800"}', "not valid JSON"),
        (b'{"inputs": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"id": "a", "id": "b"}', "repeats a key"),
        (b'{"inputs": [{"name": "x", "name": "x"}]}', "repeats a key"),
        (body(), "list of one tensor"),
        (body(tensor("x", [1])), "missing columns: 'c'"),
        (body(tensor("x", []), tensor("c", [], datatype="BYTES")), "no rows"),
        (body(tensor("x", ["1"]), tensor("c", ["a"], datatype="BYTES")), "not FP64"),
        (body(tensor("x", [True]), tensor("c", ["a"], datatype="BYTES")), "not FP64"),
        (body(tensor("x", [1], [2]), tensor("c", ["a"], datatype="BYTES")), "values"),
        (body(tensor("x", [1], [-1]), tensor("c", ["a"], datatype="BYTES")), "whole"),
        (body(tensor("x", [1, 2]), tensor("c", ["a"], datatype="BYTES")), "equally many"),
        (body(tensor("x", [1]), tensor("x", [1])), "twice"),
        (body(tensor("x", [1], datatype="FP99")), "datatype"),
        (body(tensor("x" * 500, [1])), "missing"),
        (
            body(tensor("x", [1]), tensor("c", ["a"], datatype="BYTES"), tensor("q", [1])),
            "3 inputs, and the model has 2",
        ),
        (body(tensor("x", [1]), tensor("q", [1])), "missing columns: 'c'"),
    ],
)
def test_bad_bodies_are_refused_with_a_reason(raw, said):
    assert said in reason(decode_infer, raw)


def test_a_colon_inside_a_string_is_no_repeated_key():
    assert parse_object(b'{"a": "\\":\\": \\"", "b": ":"}') == {"a": '":": "', "b": ":"}


@pytest.mark.parametrize(
    "payload",
    [
        {"dataframe_split": {"columns": ["c", "x", "more"], "data": [["a", 1, 0], ["b", 2, 0]]}},
        {"dataframe_records": [{"x": 1, "c": "a"}, {"x": 2, "c": "b"}]},
        {"inputs": {"x": [1, 2], "c": ["a", "b"]}},
        {"inputs": {"x": [[1], [2]], "c": ["a", "b"]}},
        {"instances": [[1, "a"], [2, "b"]]},
        {"instances": [{"x": 1, "c": "a"}, {"x": 2, "c": "b"}], "params": {"top": 1}},
        {"dataframe_split": {"index": [7, 8], "columns": ["x", "c"], "data": [[1, "a"], [2, "b"]]}},
    ],
)
def test_all_of_mlflows_forms_give_the_same_columns(payload):
    request = decode_invocations(json.dumps(payload).encode(), MIXED)
    np.testing.assert_array_equal(request.columns["x"], [1, 2])
    assert list(request.columns["c"]) == ["a", "b"]


def test_a_column_that_some_records_leave_out_is_null_there():
    records = [{"x": 1, "c": "a", "new": 1}, {"c": "b"}]
    request = decode_invocations(json.dumps({"dataframe_records": records}).encode(), MIXED)
    np.testing.assert_array_equal(request.columns["x"], [1, np.nan])


def test_one_input_takes_plain_values():
    single = Signature("m", "binary", (InputColumn("x", "FP64"),), "y", ("no", "yes"))
    assert decode_invocations(b'{"inputs": [1, 2]}', single).columns["x"].tolist() == [1, 2]


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"inputs": 3},
        {"inputs": {"x": [1], "c": ["a"]}, "params": 3},
        {"inputs": {"x": [1]}},
        {"inputs": [[1]]},
        {"inputs": [[1, {}]]},
        {"dataframe_split": {"columns": ["x", "x"], "data": []}},
        {"dataframe_split": {"columns": [1], "data": [[1]]}},
        {"dataframe_records": [{"x": "one", "c": "a"}]},
        {"dataframe_records": [[1, "a"]]},
        {"dataframe_records": [], "inputs": []},
    ],
)
def test_bad_mlflow_bodies_are_refused(payload):
    reason(decode_invocations, json.dumps(payload).encode())


def test_answers_hold_labels_and_probabilities():
    scores = np.array([[0.25, 0.75]], np.float32)
    request = InferenceRequest({}, 1, "7")
    body, json_length = AnswerEncoder(MIXED, "0.1.0").encode(
        np.array(["yes"], object), scores, request
    )
    answer = json.loads(body)
    assert json_length is None
    assert answer["id"] == "7"
    assert [output["data"] for output in answer["outputs"]] == [["yes"], [0.25, 0.75]]
    assert answer["outputs"][1]["shape"] == [1, 2]


def test_regression_answers_one_value_a_row():
    values = np.array([1.5, 2.5])
    body, _ = AnswerEncoder(NUMERIC, "0.1.0").encode(values, values[:, None])
    answer = json.loads(body)
    assert answer["outputs"] == [
        {"name": "value", "datatype": "FP64", "shape": [2], "data": [1.5, 2.5]}
    ]
    assert json.loads(encode_invocations(values)) == {"predictions": [1.5, 2.5]}
    assert model_metadata(NUMERIC, "0.1.0")["outputs"][0]["name"] == "value"


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = st.recursive(
    SCALARS,
    lambda child: (
        st.lists(child, max_size=4)
        | st.dictionaries(
            st.sampled_from(["inputs", "name", "shape", "datatype", "data", "x", "c", "columns"])
            | st.text(max_size=3),
            child,
            max_size=5,
        )
    ),
    max_leaves=30,
)
TENSORS = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["x", "c", "z"]) | SCALARS,
            "shape": st.lists(st.integers(-2, 4), max_size=3) | SCALARS,
            "datatype": st.sampled_from(["FP64", "BYTES", "BOOL", "INT8"]) | SCALARS,
            "data": st.lists(SCALARS | st.lists(SCALARS, max_size=2), max_size=4) | SCALARS,
        }
    ),
    max_size=3,
)


@settings(max_examples=400, deadline=None)
@given(
    st.binary(max_size=60)
    | JSON.map(lambda value: json.dumps(value).encode())
    | TENSORS.map(lambda value: json.dumps({"inputs": value}).encode())
    | st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs"]).flatmap(
        lambda form: JSON.map(lambda value: json.dumps({form: value}).encode())
    )
)
def test_no_body_raises_anything_but_a_rejection(raw):
    statuses = []
    for decode in (decode_infer, decode_invocations):
        for signature in (MIXED, NUMERIC):
            try:
                request = decode(raw, signature)
            except RequestRejected as error:
                statuses.append(error.status)
            else:
                assert all(len(column) == request.rows for column in request.columns.values())
    assert all(400 <= status < 500 for status in statuses)
