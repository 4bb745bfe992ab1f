"""A small synchronous client of the Open Inference Protocol."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from agentloop.contracts.errors import ModelNotServed, RequestRejected, ServingError

ATTEMPTS = 4
FIRST_WAIT_S = 0.1
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Prediction:
    """``labels`` are class labels, or values for regression; ``probabilities`` (rows, classes), or
    None for regression."""

    labels: tuple[Any, ...]
    probabilities: tuple[tuple[float, ...], ...] | None
    model_version: str
    request_id: str


class Client:
    """Talks to the edge at ``endpoint``, a base URL, or to a staged version's private URL."""

    def __init__(self, endpoint: str, timeout_s: float = 10.0) -> None:
        self._http = httpx.Client(base_url=endpoint.rstrip("/") + "/", timeout=timeout_s)
        self._inputs: dict[str, list[dict[str, Any]]] = {}

    def predict(self, model: str, rows: Sequence[Row] | Row) -> Prediction:
        """Predict for rows of raw columns. Raises RequestRejected (4xx), ModelNotServed, and
        ServingError when the model could not be reached."""
        batch = [rows] if isinstance(rows, Mapping) else list(rows)
        answer = self._send("POST", f"v2/models/{model}/infer", self._body(model, batch), model)
        outputs = {output["name"]: output for output in answer.json()["outputs"]}
        values = outputs["label" if "label" in outputs else "value"]["data"]
        return Prediction(
            tuple(values),
            _rows(outputs["probabilities"]) if "probabilities" in outputs else None,
            answer.headers.get("x-model-version", ""),
            answer.headers.get("x-request-id", ""),
        )

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _body(self, model: str, rows: list[Row]) -> dict[str, Any]:
        if model not in self._inputs:
            found = self._send("GET", f"v2/models/{model}", None, model)
            self._inputs[model] = found.json()["inputs"]
        missing = [c["name"] for c in self._inputs[model] if any(c["name"] not in r for r in rows)]
        if missing:
            raise RequestRejected(400, f"missing columns: {', '.join(missing[:5])}")
        inputs = [
            {**column, "shape": [len(rows)], "data": [row[column["name"]] for row in rows]}
            for column in self._inputs[model]
        ]
        return {"inputs": inputs}

    def _send(self, method: str, path: str, body: Any, model: str) -> httpx.Response:
        wait = FIRST_WAIT_S
        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1
            try:
                answer = self._http.request(method, path, json=body)
            except httpx.TransportError as error:
                if last:
                    reason = f"{self._http.base_url} cannot be reached: {error}"
                    raise ModelUnreachable(reason) from None
            else:
                if answer.status_code != 503 or last:
                    return _checked(answer, model)
            time.sleep(wait)
            wait *= 2
        raise AssertionError("the last attempt returns or raises")


class ModelUnreachable(ServingError):
    """No connection, or no answer in time."""

    kept = ""
    next_step = "agentloop status"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    @property
    def summary(self) -> str:
        return f"The model did not answer: {self.reason}."


def _checked(answer: httpx.Response, model: str) -> httpx.Response:
    if answer.status_code == 200:
        return answer
    try:
        reason = str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        reason = answer.text[:200]
    if answer.status_code in (404, 503):
        raise ModelNotServed(model)
    if 400 <= answer.status_code < 500:
        raise RequestRejected(answer.status_code, reason)
    raise ModelUnreachable(f"status {answer.status_code}, {reason}")


def _rows(tensor: Mapping[str, Any]) -> tuple[tuple[float, ...], ...]:
    width = tensor["shape"][1]
    data = tensor["data"]
    return tuple(tuple(data[start : start + width]) for start in range(0, len(data), width))
