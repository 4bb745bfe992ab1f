"""A replica for tests: serves a candidate over real HTTP on loopback, with nothing but the library.

``break_answers`` adds to every probability, so that a gate can be seen to notice.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import numpy as np

from agentloop.contracts.models import ModelVersion
from agentloop.contracts.traffic import StagedModel
from agentloop.validation.candidate import Candidate, answers_of

MAX_DEPTH = 20


class FakeReplica:
    """A context manager: serves between enter and exit; ``stage`` fits the pipeline's port."""

    def __init__(self, candidate: Candidate, version: str, break_answers: float = 0.0) -> None:
        self._candidate = candidate
        self._version = version
        self._break = break_answers
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/staged"

    async def stage(self, version: ModelVersion) -> StagedModel:
        return StagedModel(version.model, version.version, self.url)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str, body: bytes | None) -> tuple[int, dict[str, Any]]:
        """Status and JSON of the answer to a GET (``body`` None) or a POST."""
        signature = self._candidate.signature
        match path.removeprefix("/staged"), body:
            case (("/v2/health/live" | "/v2/health/ready"), None):
                return 200, {"ready": True}
            case found, None if found == f"/v2/models/{signature.model}":
                inputs = [{"name": c.name, "datatype": c.datatype} for c in signature.inputs]
                return 200, {"name": signature.model, "inputs": inputs}
            case found, bytes():
                try:
                    return 200, self._predict(found.rsplit("/", 1)[1], _strict(body))
                except (ValueError, KeyError, TypeError, RecursionError) as error:
                    return 400, {"error": str(error)[:200]}
        return 404, {"error": "there is nothing at this path"}

    @property
    def version(self) -> str:
        return self._version

    def _predict(self, endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
        signature = self._candidate.signature
        if endpoint == "infer":
            given = {tensor["name"]: tensor["data"] for tensor in body["inputs"]}
        else:
            split = body["dataframe_split"]
            given = dict(zip(split["columns"], zip(*split["data"], strict=True), strict=True))
        columns = {
            c.name: np.array(given[c.name], object if c.datatype == "BYTES" else np.float64)
            for c in signature.inputs
        }
        scores = self._candidate.score(self._candidate.pipeline.transform(columns)) + self._break
        answers = answers_of(signature, scores).tolist()
        if endpoint != "infer":
            return {"predictions": answers}
        name = "value" if self._candidate.regression else "probabilities"
        scored = {"name": name, "shape": list(scores.shape), "data": scores.ravel().tolist()}
        return {"outputs": [{"name": "label", "data": answers}, scored]}


def _handler(replica: FakeReplica) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._send(*replica.answer(self.path, None))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self._send(*replica.answer(self.path, body))

        def _send(self, status: int, value: dict[str, Any]) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.send_header("x-model-version", replica.version)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Tests have no use for an access log."""

    return Handler


def _strict(body: bytes) -> dict[str, Any]:
    """JSON as strictly as a replica must read it. Raises ValueError."""

    def refuse(token: str) -> float:
        raise ValueError(f"{token} is no JSON number")

    def number(text: str) -> float:
        return float(text) if np.isfinite(float(text)) else refuse(text)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a key is given twice")
        return dict(pairs)

    text = body.decode()
    if text.count("[") + text.count("{") > 10_000 or "[" * MAX_DEPTH in text:
        raise ValueError("nested too deeply")
    value = json.loads(text, parse_constant=refuse, parse_float=number, object_pairs_hook=unique)
    json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate has no encoding
    if not isinstance(value, dict):
        raise ValueError("the body must be an object")
    return value
