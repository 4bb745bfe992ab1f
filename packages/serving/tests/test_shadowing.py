"""Copies of requests: sent after the answer, compared, dropped rather than waited for."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest

from agentloop.contracts.traffic import ShadowCounts
from agentloop.serving.judging.channel import EvidenceSender
from agentloop.serving.replica.evidence import ReplicaEvidence
from agentloop.serving.replica.prediction_bins import PredictionBins
from agentloop.serving.replica.shadowing import QUEUE, ShadowMirror, predictions_of

BINS = PredictionBins(("a", "b"))
LABELS = np.array(["a", "b"], dtype=object)
BODY = b'{"inputs":[]}'
SHADOW = {b"x-agentloop-shadow": b"m--v2"}


def infer_answer(*labels):
    return json.dumps({"outputs": [{"name": "label", "data": list(labels)}]}).encode()


AGREEING = infer_answer("a", "b")


class Green:
    """A version that answers as it is told to; None: never."""

    def __init__(self, status=200, content=AGREEING):
        self.status, self.content = status, content
        self.heads, self.bodies, self.writers = [], [], []

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.talk, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for writer in self.writers:
            writer.close()
            await writer.wait_closed()

    async def talk(self, reader, writer):
        self.writers.append(writer)
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            self.heads.append(head.decode())
            self.bodies.append(await reader.readexactly(length))
            if self.content is None:
                continue
            size = len(self.content)
            writer.write(f"HTTP/1.1 {self.status} X\r\nContent-Length: {size}\r\n\r\n".encode())
            writer.write(self.content)


class Tally(EvidenceSender):
    """A sender that sends nothing and can be awaited."""

    def __init__(self):
        folder = Path(tempfile.gettempdir()) / "no-such-folder"
        super().__init__("m", "v1", BINS, folder)
        self.changed = asyncio.Event()

    def shadowed(self, *args, **counts):
        super().shadowed(*args, **counts)
        self.changed.set()

    @property
    def counts(self):
        return self._shadows.get("v2", ShadowCounts())

    async def until(self, number):
        async with asyncio.timeout(5):
            while sum((self.counts.compared, self.counts.failed, self.counts.dropped)) < number:
                self.changed.clear()
                await self.changed.wait()
        return self.counts


async def close(watching):
    workers = watching._mirror._workers
    watching.close()
    await asyncio.gather(*workers, return_exceptions=True)


def evidence(port):
    tally = Tally()
    return ReplicaEvidence(tally, ShadowMirror("m", port, tally, BINS)), tally


async def test_a_copy_goes_to_the_shadow_as_a_probe_and_is_compared():
    async with Green() as green:
        watching, tally = evidence(green.port)
        watching.answered(SHADOW, "infer", BODY, LABELS, 0.01, 200)
        watching.answered(SHADOW, "infer", BODY, LABELS[::-1], 0.01, 200)
        watching.answered(SHADOW, "infer", BODY, LABELS[:1], 0.01, 200)
        assert await tally.until(3) == ShadowCounts(3, 2.0)
        await close(watching)
    assert green.bodies == [BODY] * 3
    assert green.heads[0].startswith("POST /m--v2/v2/models/m/infer HTTP/1.1\r\n")
    assert "x-agentloop-probe: 1" in green.heads[0]


async def test_mlflow_requests_are_compared_too():
    async with Green(content=b'{"predictions":["a","a"]}') as green:
        watching, tally = evidence(green.port)
        watching.answered(SHADOW, "invocations", BODY, LABELS, 0.01, 200)
        assert await tally.until(1) == ShadowCounts(1, 0.5)
        await close(watching)
    assert "POST /m--v2/invocations " in green.heads[0]


@pytest.mark.parametrize(
    ("status", "counts"),
    [
        (500, ShadowCounts(failed=1)),
        (503, ShadowCounts(failed=1)),
        (429, ShadowCounts(dropped=1)),
        (422, ShadowCounts(compared=1, disagreed=1.0)),
    ],
)
async def test_what_the_shadow_refuses_or_fails_is_counted(status, counts):
    async with Green(status, b'{"error":"no"}') as green:
        watching, tally = evidence(green.port)
        watching.answered(SHADOW, "infer", BODY, LABELS, 0.01, 200)
        assert await tally.until(1) == counts
        await close(watching)


async def test_a_shadow_that_is_not_there_has_failed():
    async with Green() as green:
        port = green.port
    watching, tally = evidence(port)
    watching.answered(SHADOW, "infer", BODY, LABELS, 0.01, 200)
    assert await tally.until(1) == ShadowCounts(failed=1)
    await close(watching)


async def test_a_shadow_that_never_answers_costs_a_bounded_queue(monkeypatch):
    monkeypatch.setattr("agentloop.serving.replica.shadowing.TIMEOUT_SECONDS", 0.2)
    async with Green(content=None) as green:
        watching, tally = evidence(green.port)
        for _ in range(QUEUE + 100):
            watching.answered(SHADOW, "infer", BODY, LABELS, 0.01, 200)
        assert tally.counts.dropped == 100
        assert (await tally.until(102)).failed >= 2
        await close(watching)


async def test_only_own_versions_answered_requests_and_plain_bodies_are_copied():
    watching, tally = evidence(1)
    for headers, status in (
        ({}, 200),
        (SHADOW, 500),
        ({b"x-agentloop-shadow": b"other--v2"}, 200),
        ({b"x-agentloop-shadow": b"m--v2 HTTP/1.1\r\nx: y"}, 200),
        ({b"x-agentloop-shadow": b"m--\xff"}, 200),
        ({**SHADOW, b"inference-header-content-length": b"9"}, 200),
    ):
        watching.answered(headers, "infer", BODY, LABELS, 0.01, status)
    assert tally._shadows == {}
    assert watching._mirror._workers == []
    await close(watching)


async def test_evidence_that_fails_fails_no_request():
    watching, tally = evidence(1)
    tally.note = None
    watching.answered(SHADOW, "infer", BODY, LABELS, 0.01, 200)
    await close(watching)


def test_answers_that_are_no_predictions_are_none():
    for content in (b"", b"[]", b'{"outputs":[]}', b'{"outputs":3}', b'{"predictions":3}', b"3"):
        assert predictions_of(200, content) == ()
    assert predictions_of(422, b'{"predictions":[1]}') == ()
