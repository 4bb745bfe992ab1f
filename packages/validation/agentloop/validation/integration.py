"""Does the staged version speak the protocols, and say what the model says? Over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from agentloop.contracts.models import Check
from agentloop.lifecycle.bundle import Signature
from agentloop.validation.candidate import Candidate, answers_of
from agentloop.validation.http_replica import HttpReplica, Reply, infer_body, plain_values
from agentloop.validation.stats import Interval
from agentloop.validation.suites import measured, observed, unmeasured

PARITY_ROWS = 64
MAX_DIFFERENCE = 1e-5
MAX_ERROR_BYTES = 4096
DEPTH = 5000

NAMES = ("live", "ready", "metadata", "version_header", "infer", "invocations", "bad_input")


def unstaged_checks() -> Iterator[Check]:
    """What the suite says where no replica was staged."""
    for name in NAMES:
        yield unmeasured(name, "no replica was staged")


def integration_checks(candidate: Candidate, version: str, url: str) -> Iterator[Check]:
    """All checks against the replica at ``url``, which must serve ``version``."""
    replica = HttpReplica(url)
    signature = candidate.signature
    try:
        for name in ("live", "ready"):
            reply = replica.get(f"/v2/health/{name}")
            yield observed(name, reply.status == 200, f"GET /v2/health/{name}: {_shown(reply)}")
        yield _metadata_check(replica, signature)
        rows = slice(0, min(PARITY_ROWS, candidate.rows))
        path = f"/v2/models/{signature.model}/infer"
        reply = replica.post(path, infer_body(signature, candidate.columns, rows))
        told = reply.headers.get("x-model-version", "")
        message = f"x-model-version is '{told}', the staged version {version}"
        yield observed("version_header", told == version, message)
        yield _infer_check(candidate, reply, rows)
        yield _invocations_check(candidate, replica, rows)
        yield _bad_input_check(candidate, replica, path)
    finally:
        replica.close()


def _metadata_check(replica: HttpReplica, signature: Signature) -> Check:
    reply = replica.get(f"/v2/models/{signature.model}")
    value = reply.json()
    inputs = value.get("inputs") if isinstance(value, dict) else None
    told = {
        (tensor.get("name"), tensor.get("datatype"))
        for tensor in (inputs if isinstance(inputs, list) else [])
        if isinstance(tensor, dict)
    }
    expected = {(column.name, column.datatype) for column in signature.inputs}
    ok = reply.status == 200 and told == expected
    message = f"{len(expected)} inputs as in the signature" if ok else _shown(reply)
    return observed("metadata", ok, f"GET /v2/models/{signature.model}: {message}")


def _infer_check(candidate: Candidate, reply: Reply, rows: slice) -> Check:
    """Scores over HTTP against the same model run here: the largest absolute difference."""
    scores = candidate.score(candidate.matrix[rows])
    name = "value" if candidate.regression else "probabilities"
    outputs = _outputs(reply)
    try:
        served = np.array(outputs[name], np.float64).reshape(scores.shape)
    except (KeyError, ValueError, TypeError):
        return observed("infer", False, f"the answer has no sound '{name}': {_shown(reply)}")
    # Relative above 1: a regression's values may be of any size.
    difference = float((np.abs(served - scores) / np.maximum(np.abs(scores), 1.0)).max())
    answers = answers_of(candidate.signature, scores)
    labels_agree = candidate.regression or outputs.get("label") == answers.tolist()
    passed = difference <= MAX_DIFFERENCE and labels_agree
    message = f"answers over HTTP differ from the model's own by at most {difference:.2g}"
    return measured(
        "infer",
        Interval(difference, 0.0, difference),
        len(scores),
        MAX_DIFFERENCE,
        passed,
        message if labels_agree else f"{message}, and labels differ",
    )


def _invocations_check(candidate: Candidate, replica: HttpReplica, rows: slice) -> Check:
    names = [column.name for column in candidate.signature.inputs]
    lists = [plain_values(candidate.columns[name][rows]) for name in names]
    data = [list(row) for row in zip(*lists, strict=True)]
    body = json.dumps({"dataframe_split": {"columns": names, "data": data}}).encode()
    reply = replica.post("/invocations", body)
    value = reply.json()
    told = value.get("predictions") if isinstance(value, dict) else None
    expected = candidate.answers(candidate.matrix[rows])
    ok = isinstance(told, list) and len(told) == len(expected)
    if ok and candidate.regression:
        try:
            ok = bool(np.allclose(np.array(told, np.float64), expected, rtol=MAX_DIFFERENCE))
        except (ValueError, TypeError):
            ok = False
    elif ok:
        ok = told == expected.tolist()
    message = f"{len(expected)} predictions equal to the model's own" if ok else _shown(reply)
    return observed("invocations", ok, f"POST /invocations: {message}", len(expected))


def _bad_input_check(candidate: Candidate, replica: HttpReplica, path: str) -> Check:
    """Each hostile body must get a short 4xx."""
    wrong: list[str] = []
    bodies = hostile_bodies(candidate)
    for name, body in bodies.items():
        reply = replica.post(path, body)
        if not 400 <= reply.status < 500 or len(reply.body) >= MAX_ERROR_BYTES:
            wrong.append(f"{name}: {reply.status} with {len(reply.body)} bytes")
    after = replica.get("/v2/health/ready")
    if after.status != 200:
        wrong.append(f"not ready afterwards: {_shown(after)}")
    message = "; ".join(wrong) or f"{len(bodies)} bad bodies each got a short 4xx"
    return observed("bad_input", not wrong, message, len(bodies))


def hostile_bodies(candidate: Candidate) -> dict[str, bytes]:
    """Bodies that no replica may accept, by what is wrong with them."""
    good = infer_body(candidate.signature, candidate.columns, slice(0, 1))
    missing = json.loads(good)
    missing["inputs"] = missing["inputs"][1:]
    bodies = {
        "not JSON": b"{",
        "not an object": b"[]",
        "a missing column": json.dumps(missing).encode(),
        "a depth bomb": b'{"inputs":' + b"[" * DEPTH + b"]" * DEPTH + b"}",
        "duplicate keys": b'{"inputs":[],' + good[1:],
        "a lone surrogate": b'{"id":"\\ud800",' + good[1:],
    }
    number = next((c for c in candidate.signature.inputs if c.datatype != "BYTES"), None)
    if number is not None:
        for token in (b"NaN", b"Infinity", b"1e999", b'"text"'):
            bodies[f"{token.decode()} as a number"] = _with_token(good, number.name, token)
    return bodies


def _with_token(good: bytes, name: str, token: bytes) -> bytes:
    body = json.loads(good)
    for tensor in body["inputs"]:
        if tensor["name"] == name:
            tensor["data"] = ["@token@"]
    return json.dumps(body).encode().replace(b'"@token@"', token)


def _outputs(reply: Reply) -> dict[str, Any]:
    value = reply.json()
    tensors = value.get("outputs") if isinstance(value, dict) else None
    return {
        str(tensor.get("name")): tensor.get("data")
        for tensor in (tensors if isinstance(tensors, list) else [])
        if isinstance(tensor, dict)
    }


def _shown(reply: Reply) -> str:
    text = reply.body[:120].decode("utf-8", "replace")
    return f"{reply.status} {text}" if reply.status else f"no answer ({text})"
