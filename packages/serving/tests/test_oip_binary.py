"""The binary tensor extension: raw bytes in and out, and nothing malformed gets through."""

from __future__ import annotations

import json
from struct import pack

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentloop.contracts import RequestRejected
from agentloop.lifecycle import InputColumn, Signature
from agentloop.serving.protocol.inference_request import (
    InferenceRequest,
    MatrixColumns,
    RequestedOutput,
)
from agentloop.serving.protocol.oip import InferDecoder, server_metadata
from agentloop.serving.protocol.oip_answer import AnswerEncoder
from agentloop.serving.protocol.oip_binary import DTYPES, write_values

MIXED = Signature(
    "m", "binary", (InputColumn("x", "FP64"), InputColumn("c", "BYTES")), "y", ("no", "yés")
)
NUMERIC = Signature(
    "m", "regression", (InputColumn("x", "FP64"), InputColumn("z", "FP64")), "y", ()
)


def raw_tensor(name, shape, datatype, size):
    parameters = {"binary_data_size": size}
    return {"name": name, "shape": shape, "datatype": datatype, "parameters": parameters}


def request(raw, *tensors, **more):
    text = json.dumps({"inputs": tensors, **more}).encode()
    return text + raw, str(len(text)).encode()


def decode(signature, raw, *tensors, **more):
    return InferDecoder(signature).decode(*request(raw, *tensors, **more))


def texts(*values):
    return b"".join(pack("<I", len(v.encode())) + v.encode() for v in values)


@pytest.mark.parametrize("datatype", sorted(DTYPES))
def test_numbers_of_every_type_are_read(datatype):
    values = np.array([0, 1, 1, 0]).astype(DTYPES[datatype])
    tensor = raw_tensor("all", [2, 2], datatype, values.nbytes)
    found = decode(NUMERIC, values.tobytes(), tensor)
    np.testing.assert_array_equal(found.columns["x"], [0, 1])
    np.testing.assert_array_equal(found.columns["z"], [1, 0])


def test_a_matrix_of_doubles_is_never_copied():
    body, length = request(
        np.arange(4.0).tobytes(), raw_tensor("all", [2, 2], "FP64", 32), id="long enough"
    )
    columns = InferDecoder(NUMERIC).decode(body, length).columns
    assert isinstance(columns, MatrixColumns)
    assert not columns.matrix.flags.owndata
    assert np.shares_memory(columns.matrix, np.frombuffer(body, np.uint8))


def test_text_raw_and_json_tensors_can_be_mixed():
    raw = texts("é", "")
    found = decode(
        MIXED,
        raw,
        {"name": "x", "shape": [2], "datatype": "FP64", "data": [1, None]},
        raw_tensor("c", [2], "BYTES", len(raw)),
    )
    assert list(found.columns["c"]) == ["é", ""]
    np.testing.assert_array_equal(found.columns["x"], [1, np.nan])


def test_a_raw_nan_is_a_null():
    body = np.array([np.nan, 2.0], "<f4").tobytes()
    found = decode(NUMERIC, body, raw_tensor("all", [1, 2], "FP32", 8))
    assert np.isnan(found.columns["x"][0])


DOUBLE = np.array([1.0, 2.0]).tobytes()


@pytest.mark.parametrize(
    ("raw", "tensor", "said"),
    [
        (DOUBLE, raw_tensor("all", [1, 2], "FP64", 8), "bytes, not its shape's"),
        (DOUBLE, raw_tensor("all", [1, 2], "FP64", 17), "fewer bytes"),
        (DOUBLE + b"x", raw_tensor("all", [1, 2], "FP64", 16), "more bytes"),
        (DOUBLE, raw_tensor("all", [1, 2], "FP64", -1), "number of bytes"),
        (DOUBLE, raw_tensor("all", [1, 2], "FP64", True), "number of bytes"),
        (DOUBLE, raw_tensor("all", [1, 2], "FP64", 16.0), "number of bytes"),
        (DOUBLE, raw_tensor("all", [10**18, 10**18], "FP64", 16), "bytes, not its shape's"),
        (DOUBLE, {**raw_tensor("all", [1, 2], "FP64", 16), "data": [1, 2]}, "both"),
        (DOUBLE, {**raw_tensor("all", [1, 2], "FP64", 16), "parameters": 3}, "object"),
        (b"\x02\x00", raw_tensor("all", [1, 2], "BOOL", 2), "not BOOL"),
        (np.array([np.inf, 1]).tobytes(), raw_tensor("all", [1, 2], "FP64", 16), "infinite"),
        (texts("1", "2"), raw_tensor("all", [1, 2], "BYTES", 10), "must hold numbers"),
    ],
)
def test_malformed_numbers_are_refused(raw, tensor, said):
    with pytest.raises(RequestRejected, match=said) as caught:
        decode(NUMERIC, raw, tensor)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("raw", "shape", "said"),
    [
        (b"\x05\x00\x00\x00ab", [1], "inside an element"),
        (b"\xff\xff\xff\xffab", [1], "inside an element"),
        (b"\x01\x00", [1], "fewer elements"),
        (texts("a") + b"\x00", [1], "more bytes"),
        (texts("a"), [10**15], "fewer elements"),
        (b"\x01\x00\x00\x00\xff", [1], "no UTF-8"),
    ],
)
def test_malformed_texts_are_refused(raw, shape, said):
    x = {"name": "x", "shape": [1], "datatype": "FP64", "data": [1]}
    with pytest.raises(RequestRejected, match=said):
        decode(MIXED, raw, x, raw_tensor("c", shape, "BYTES", len(raw)))


@pytest.mark.parametrize("length", [b"", b"-1", b"1e1", b"x", b"9" * 13, b"9" * 5000, b" 3", b"99"])
def test_a_wild_header_length_is_refused(length):
    with pytest.raises(RequestRejected, match="Inference-Header-Content-Length"):
        InferDecoder(NUMERIC).decode(b'{"inputs": []}', length)


def scored():
    return np.array(["yés", "no"], object), np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)


def test_outputs_are_raw_when_asked_for():
    body, length = AnswerEncoder(MIXED, "1").encode(
        *scored(), InferenceRequest({}, 2, "7", binary=True)
    )
    head, raw = json.loads(body[:length]), body[length:]
    sizes = [output["parameters"]["binary_data_size"] for output in head["outputs"]]
    assert head["id"] == "7"
    assert raw[: sizes[0]] == texts("yés", "no")
    np.testing.assert_array_equal(np.frombuffer(raw[sizes[0] :], "<f4").reshape(2, 2), scored()[1])
    assert sum(sizes) == len(raw)
    assert all("data" not in output for output in head["outputs"])


def test_only_the_outputs_asked_for_are_sent_in_their_order():
    x = {"name": "x", "shape": [1], "datatype": "FP64", "data": [1]}
    c = {"name": "c", "shape": [1], "datatype": "BYTES", "data": ["a"]}
    outputs = [
        {"name": "probabilities", "parameters": {"binary_data": True}},
        {"name": "label"},
    ]
    asked = decode(MIXED, b"", x, c, outputs=outputs)
    assert asked.outputs == (
        RequestedOutput("probabilities", True),
        RequestedOutput("label", False),
    )
    body, length = AnswerEncoder(MIXED, "1").encode(*scored(), asked)
    head = json.loads(body[:length])
    assert [output["name"] for output in head["outputs"]] == ["probabilities", "label"]
    assert head["outputs"][1]["data"] == ["yés", "no"]
    assert len(body) - length == 16


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"outputs": 3}, "list"),
        ({"outputs": [3]}, "must name outputs"),
        ({"outputs": [{"name": "value"}, {"name": "value"}]}, "twice"),
        ({"outputs": [{"name": "label"}]}, "must name outputs of the model: 'value'"),
        ({"outputs": [{"name": "value", "parameters": {"classification": 2}}]}, "classification"),
        ({"outputs": [{"name": "value", "parameters": {"binary_data": 1}}]}, "true or false"),
        ({"parameters": []}, "object"),
        ({"parameters": {"binary_data_output": "yes"}}, "true or false"),
    ],
)
def test_wild_wishes_are_refused(more, said):
    x = {"name": "all", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}
    with pytest.raises(RequestRejected, match=said):
        decode(NUMERIC, b"", x, **more)


def test_the_server_says_that_it_speaks_the_extension():
    assert server_metadata("1")["extensions"] == ["binary_tensor_data"]


@given(st.lists(st.text(max_size=8), min_size=1, max_size=5))
def test_texts_come_back_as_they_were_sent(values):
    raw = write_values(np.array(values, object), "BYTES")
    x = {"name": "x", "shape": [len(values)], "datatype": "FP64", "data": [0] * len(values)}
    found = decode(MIXED, raw, x, raw_tensor("c", [len(values)], "BYTES", len(raw)))
    assert list(found.columns["c"]) == values


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=40),
    st.lists(st.integers(-1, 4) | st.just(10**18), max_size=3),
    st.sampled_from([*sorted(DTYPES), "BYTES", "FP8"]),
    st.integers(-2, 41) | st.none() | st.just(10**30),
)
def test_no_raw_body_raises_anything_but_a_rejection(raw, shape, datatype, size):
    for signature in (MIXED, NUMERIC):
        try:
            found = decode(signature, raw, raw_tensor("x", shape, datatype, size))
        except RequestRejected as error:
            status = error.status
        else:
            status = 200 if all(len(c) == found.rows for c in found.columns.values()) else 500
        assert status == 200 or 400 <= status < 500
