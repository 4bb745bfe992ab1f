"""Bodies and headers that a server should survive, made from a seed or by name.

For tests and benchmarks of a server whose model has the inputs ``x`` (FP64) and ``c`` (BYTES); most
are as wrong for any other.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from struct import pack
from typing import Any

import orjson

_NAMES = ["x", "c", "z", "features", "", "é", "x" * 5000, "\x00", "label"]
_TYPES = ["FP64", "FP32", "FP16", "INT64", "UINT8", "BOOL", "BYTES", "FP8", "", None, 7]
_SCALARS: list[Any] = [
    0, 1, -1, 1.5, -1e308, 5e-324, 2**63, 2**64 - 1, True, False, None,
    "", "a", "é", "\x00\x1f", "\U0001f600" * 50, "1", [], [1], {}, {"a": 1},
]  # fmt: skip
_TOKENS = [
    b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"9" * 400, b"00", b"1.", b"'x'",
    b'"\\ud800"', b'"\\udfff\\ud800"', b'"\xff"', b"\xef\xbb\xbf", b"nul", b"\x00", b"[" * 1200,
    b'{"a":1,"a":2}', b"/*", b"[1,]", b'{"inputs":1,}',
]  # fmt: skip
_FORMS = ["inputs", "instances", "dataframe_split", "dataframe_records", "params", "outputs"]

Headers = list[tuple[bytes, bytes]]


def fuzz_body(rng: random.Random, model: str) -> tuple[bytes, str, Headers]:
    """A body, its path and its headers: sound, a little wrong, or nothing of the kind."""
    infer = f"/v2/models/{model}/infer"
    kind = rng.randrange(8)
    if kind == 0:
        return rng.randbytes(rng.randrange(200)), rng.choice([infer, "/invocations"]), []
    if kind == 1:
        return orjson.dumps(_forms(rng)), "/invocations", []
    if kind in (2, 3):
        return _raw_request(rng, infer)
    body = orjson.dumps(_request(rng))
    if kind == 4:
        at = rng.randrange(len(body) + 1)
        body = body[:at] + rng.choice(_TOKENS) + body[at + rng.randrange(4) :]
    elif kind == 5:
        body = body[: rng.randrange(len(body) + 1)]
    return body, infer, []


def spoiled(rng: random.Random, body: bytes) -> bytes:
    """A sound body with a token put in, a piece cut out or its end cut off."""
    at = rng.randrange(len(body) + 1)
    match rng.randrange(4):
        case 0:
            return body[:at] + rng.choice(_TOKENS) + body[at + rng.randrange(4) :]
        case 1:
            return body[:at]
        case 2:
            return body[:at] + body[at + rng.randrange(20) :]
        case _:
            return body


def _request(rng: random.Random) -> dict[str, Any]:
    rows = rng.randrange(1, 4)
    tensors = [
        {"name": "x", "datatype": "FP64", "shape": [rows], "data": [rng.random()] * rows},
        {"name": "c", "datatype": "BYTES", "shape": [rows, 1], "data": [["a"]] * rows},
    ]
    request: dict[str, Any] = {"inputs": tensors}
    for _ in range(rng.randrange(4)):
        _spoil(rng, request, tensors)
    return request


def _spoil(rng: random.Random, request: dict[str, Any], tensors: list[Any]) -> None:
    tensor = rng.choice(tensors) if tensors else {}
    match rng.randrange(9):
        case 0:
            tensor["datatype"] = rng.choice(_TYPES)
        case 1:
            tensor["shape"] = [rng.choice([-1, 0, 1, 2, 10**18, 1.5, "1"])] * rng.randrange(4)
        case 2:
            tensor["data"] = [rng.choice(_SCALARS) for _ in range(rng.randrange(4))]
        case 3:
            tensor["name"] = rng.choice(_NAMES)
        case 4:
            tensor["parameters"] = rng.choice([{"binary_data_size": 8}, 3, {}])
        case 5 if tensors:
            tensor.pop(rng.choice(list(tensor)), None)
        case 6:
            request["outputs"] = [{"name": rng.choice(["label", "probabilities", "value", 3])}]
        case 7:
            request[rng.choice(["id", "parameters", "inputs"])] = rng.choice(_SCALARS)
        case _:
            tensors.append(rng.choice([dict(tensor), None, [], "x"]))
            if not isinstance(tensors[-1], dict):
                request["inputs"] = list(tensors)
                tensors.pop()


def _raw_request(rng: random.Random, path: str) -> tuple[bytes, str, Headers]:
    raw = pack("<d", rng.random()) + pack("<I", 1) + b"a"
    size = rng.choice([8, 8, 8, 0, 7, 16, -8, 2**63])
    tensors = [
        {"name": "x", "datatype": rng.choice(["FP64", "FP64", "FP32", "BOOL"]), "shape": [1],
         "parameters": {"binary_data_size": size}},
        {"name": "c", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}},
    ]  # fmt: skip
    text = orjson.dumps(
        {"inputs": tensors, "parameters": {"binary_data_output": rng.random() < 0.5}}
    )
    length = rng.choice([str(len(text))] * 4 + ["", "-1", "0", "9" * 30, "1e3", str(len(text) + 1)])
    raw = raw if rng.random() < 0.7 else rng.randbytes(rng.randrange(40))
    return text + raw, path, [(b"inference-header-content-length", length.encode())]


def _forms(rng: random.Random) -> dict[str, Any]:
    row = {"x": rng.choice(_SCALARS), "c": rng.choice(_SCALARS)}
    payloads = [
        [row],
        {"columns": ["x", "c"], "data": [[rng.choice(_SCALARS), "a"]]},
        {"x": [rng.choice(_SCALARS)], "c": ["a"]},
        [[1, "a"], [rng.choice(_SCALARS)]],
        rng.choice(_SCALARS),
    ]
    return {rng.choice(_FORMS): rng.choice(payloads) for _ in range(rng.randrange(1, 3))}


def _tensors(x: bytes, more: bytes = b"", name: bytes = b"x", shape: bytes = b"1") -> bytes:
    return (
        b'{"inputs":[{"name":"%b","shape":[%b],"datatype":"FP64","data":[%b]},'
        b'{"name":"c","shape":[1],"datatype":"BYTES","data":["a"]}]%b}' % (name, shape, x, more)
    )


def _many_tensors(count: int) -> bytes:
    one = b'{"name":"%d","shape":[1],"datatype":"FP64","data":[1]}'
    return b'{"inputs":[%b]}' % b",".join(one % i for i in range(count))


HOSTILE_BODIES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "NaN": lambda: _tensors(b"NaN"),
    "Infinity": lambda: _tensors(b"Infinity"),
    "minus Infinity": lambda: _tensors(b"-Infinity"),
    "1e999": lambda: _tensors(b"1e999"),
    "a lone surrogate": lambda: _tensors(b"1", b',"id":"\\ud800"'),
    "5,000 digits": lambda: _tensors(b"9" * 5000),
    "5,000 digits beside a colon": lambda: _tensors(b"9" * 5000, b',"id":"a:b"'),
    "depth 100,000": lambda: b"[" * 100_000 + b"]" * 100_000,
    "objects 100,000 deep": lambda: b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "depth 1,000": lambda: _tensors(b"[" * 1000 + b"]" * 1000),
    "a repeated key": lambda: _tensors(b"1", b',"inputs":[]'),
    "a repeated inner key": lambda: _tensors(b'1],"data":[2'),
    "a repeated key, spaced": lambda: _tensors(b"1", b',"id" :"a","id"\n:"b"'),
    "invalid UTF-8": lambda: _tensors(b"1", b',"id":"\xff\xfe"'),
    "a byte order mark": lambda: b"\xef\xbb\xbf{}",
    "text for a number": lambda: _tensors(b'"one"'),
    "a list for a number": lambda: _tensors(b"[[1]]"),
    "a wild shape": lambda: _tensors(b"1", shape=b"1000000000000"),
    "ten thousand tensors": lambda: _many_tensors(10_000),
    "a hundred thousand nulls": lambda: _tensors(b",".join([b"null"] * 100_000)),
    "a long name": lambda: _tensors(b"1", name=b"y" * 100_000),
    "escapes in a name": lambda: _tensors(b"1", name=b"\\u0000" * 9999),
    "150,000 rows": lambda: b'{"instances":[%b]}' % b",".join([b"[1,2]"] * 150_000),
    "pickle": lambda: b"cos\nsystem\n(S'true'\ntR.",
    "XML": lambda: b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
}

_LONG = b"x" * 60_000
HOSTILE_HEADERS: dict[str, Headers] = {
    "request id": [(b"x-request-id", b"\xff\x00\r\nset-cookie: a=b")],
    "long request id": [(b"x-request-id", _LONG)],
    "traceparent": [(b"traceparent", _LONG), (b"tracestate", _LONG)],
    "two traceparents": [(b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01")] * 2,
    "tracestate": [
        (b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"),
        *[(b"tracestate", b"a=1" * 3000)] * 50,
    ],
    "json length": [(b"inference-header-content-length", b"9" * 5000)],
    "negative json length": [(b"inference-header-content-length", b"-5")],
    "content type": [(b"content-type", b"\xff" * 9000)],
    "charset": [(b"content-type", b"application/json; charset=utf-7")],
    "encoding": [(b"content-encoding", b"\x00")],
    "probe": [(b"x-agentloop-probe", _LONG)],
    "shadow": [(b"x-agentloop-shadow", b"../../\xff")],
    "session": [(b"x-session-id", _LONG)],
    "many": [(b"h%d" % i, b"v") for i in range(5000)],
}
