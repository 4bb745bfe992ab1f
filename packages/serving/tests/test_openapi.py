"""The description of the API is sound, and its examples are answered."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from agentloop.contracts import ColumnSchema, DataSchema
from agentloop.lifecycle import InputColumn, Signature, build_reference
from agentloop.serving.protocol.invocations import decode_invocations
from agentloop.serving.protocol.oip import InferDecoder
from agentloop.serving.protocol.openapi import describe_api
from agentloop.serving.protocol.openapi_page import render_page

SIGNATURE = Signature(
    "m", "binary", (InputColumn("x", "FP64"), InputColumn("<c>", "BYTES")), "y", ("no", "yes")
)
COLUMNS = {
    "x": np.arange(100.0, 200.0),
    "<c>": np.array(["red"] * 70 + ["blue"] * 30, object),
}
SCHEMA = DataSchema((ColumnSchema("x", "number"), ColumnSchema("<c>", "category")), target="y")
REFERENCE = build_reference(COLUMNS, SCHEMA, np.array(["no", "yes"] * 50, object))


def example(path, reference=REFERENCE):
    api = describe_api(SIGNATURE, "0.1.0", reference)
    return api["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]


def references(node):
    if isinstance(node, dict):
        yield from ([node["$ref"]] if "$ref" in node else [])
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from references(child)


def test_examples_hold_what_the_training_data_held_and_are_accepted():
    body = json.dumps(example("/v2/models/m/infer")).encode()
    columns = InferDecoder(SIGNATURE).decode(body).columns
    assert 140 <= columns["x"][0] <= 160
    assert columns["<c>"][0] == "red"
    other = json.dumps(example("/models/m/invocations")).encode()
    assert decode_invocations(other, SIGNATURE).columns["<c>"][0] == "red"


@pytest.mark.parametrize("path", ["/v2/models/m/infer", "/models/m/invocations"])
def test_examples_are_what_their_schemas_say(path):
    jsonschema = pytest.importorskip("jsonschema")
    api = describe_api(SIGNATURE, "0.1.0", REFERENCE)
    operation = api["paths"][path]["post"]
    for described in (operation["requestBody"], operation["responses"]["200"]):
        media = described["content"]["application/json"]
        schema = {**media["schema"], "components": api["components"]}
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.Draft202012Validator(schema).validate(media["example"])


def test_without_a_reference_the_examples_still_fit():
    body = json.dumps(example("/v2/models/m/infer", None)).encode()
    assert InferDecoder(SIGNATURE).decode(body).rows == 1


def test_every_reference_of_the_document_leads_somewhere():
    api = describe_api(SIGNATURE, "0.1.0")
    known = {f"#/components/schemas/{name}" for name in api["components"]["schemas"]}
    assert api["openapi"] == "3.1.0"
    assert set(references(api)) <= known
    assert len(set(references(api))) > 3


def test_the_page_loads_nothing_and_escapes_what_a_model_is_called():
    page = render_page(describe_api(SIGNATURE, "0.1.0", REFERENCE))
    assert "&lt;c&gt;" in page
    assert "<c>" not in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//|@import|url\(""", page)
