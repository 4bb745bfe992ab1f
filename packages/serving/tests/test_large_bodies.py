"""Large bodies are read elsewhere, with the same result, whatever happens there."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from agentloop.contracts import RequestRejected
from agentloop.lifecycle import InputColumn, Signature
from agentloop.serving.protocol.decoding import RequestDecoder, json_bytes
from agentloop.serving.protocol.hostile_requests import HOSTILE_BODIES, fuzz_body
from agentloop.serving.protocol.request_wire import PIECE, pack_request, unpack_request
from agentloop.serving.replica import large_bodies
from agentloop.serving.replica.large_bodies import BodyProcess, LargeBodies, ReaderLost

MIXED = Signature(
    "m", "binary", (InputColumn("x", "FP64"), InputColumn("c", "BYTES")), "y", ("no", "yes")
)
NUMBERS = Signature(
    "m", "binary", tuple(InputColumn(name, "FP64") for name in "abc"), "y", ("no", "yes")
)


def tensor(name, datatype, data, shape=None):
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}


def mixed(rows):
    values = [None if n % 7 == 0 else n / 3 for n in range(rows)]
    texts = [None if n % 5 == 0 else f"é{n}" for n in range(rows)]
    tensors = [tensor("x", "FP64", values), tensor("c", "BYTES", texts)]
    return json.dumps({"id": "a", "inputs": tensors, "outputs": [{"name": "label"}]}).encode()


def by_row(rows):
    data = [[float(n), None, n * 2.0] for n in range(rows)]
    return json.dumps({"inputs": [tensor("f", "FP64", data, [rows, 3])]}).encode()


def by_column(rows):
    tensors = [tensor(name, "FP64", [n / 7 for n in range(rows)]) for name in "abc"]
    return json.dumps({"inputs": tensors}).encode()


def outcome(decode, *arguments):
    """What a body comes to, so that two ways to read it can be compared."""
    try:
        request = decode(*arguments)
    except RequestRejected as error:
        return error.status, error.reason
    return shown(request)


def shown(request):
    columns = {
        name: column.tolist() if column.dtype == object else column.tobytes()
        for name, column in request.columns.items()
    }
    return columns, request.rows, request.id, request.outputs, request.binary


def sent(request):
    head, parts = pack_request(request)
    return unpack_request(head, memoryview(bytearray(b"".join(parts))))


@pytest.fixture(scope="module")
def process():
    process = BodyProcess(MIXED)
    yield process
    process.close()


@pytest.fixture
def bodies():
    made = []

    def make(signature=MIXED, **more):
        made.append(LargeBodies(signature, RequestDecoder(signature), **more))
        return made[-1]

    yield make
    for item in made:
        item.close()


@pytest.mark.parametrize("rows", [1, 3, PIECE, 2 * PIECE + 1])
@pytest.mark.parametrize(
    ("make", "signature"), [(mixed, MIXED), (by_row, NUMBERS), (by_column, NUMBERS)]
)
def test_a_request_survives_the_way(make, signature, rows):
    request = RequestDecoder(signature).decode("infer", make(rows), None)
    arrived = sent(request)
    assert shown(arrived) == shown(request)
    assert type(arrived.columns) is type(request.columns)
    assert list(arrived.columns) == list(request.columns)


def test_the_process_says_what_the_decoder_says_of_hostile_and_sound_bodies(process):
    decoder = RequestDecoder(MIXED)
    cases = [
        (body(), e, None) for body in HOSTILE_BODIES.values() for e in ("infer", "invocations")
    ]
    cases.append((mixed(5000), "infer", None))
    for seed in range(500):
        body, path, headers = fuzz_body(random.Random(seed), "m")
        endpoint = "invocations" if path.endswith("invocations") else "infer"
        cases.append((body, endpoint, dict(headers).get(b"inference-header-content-length")))
    for body, endpoint, length in cases:
        there = outcome(process.read, endpoint, body, length, 30.0)
        assert there == outcome(decoder.decode, endpoint, body, length), body[:200]


def test_it_is_niced_and_goes_first_where_memory_runs_out(process):
    known = Path("/proc", str(process.pid))
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == 10 + os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getsid(process.pid) == process.pid
    assert (known / "oom_score_adj").read_text() == "1000\n"
    if (known / "autogroup").exists():
        assert (known / "autogroup").read_text().endswith(" nice 10\n")


def test_it_ends_with_its_input():
    process = BodyProcess(MIXED)
    process._process.stdin.close()
    assert process._process.wait(10) == 0
    process.close()


async def test_a_process_that_was_killed_is_replaced(bodies):
    reader = bodies()
    assert (await reader.decode("infer", mixed(3), None)).rows == 3
    first = reader._process.pid
    os.kill(first, signal.SIGKILL)
    assert (await reader.decode("infer", mixed(4), None)).rows == 4
    assert reader._process.pid != first


class Reader:
    """Stands for a process: reads by ``acts``, in turn."""

    def __init__(self, *acts):
        self.acts, self.started, self.killed = list(acts), 0, threading.Event()

    def __call__(self, signature):
        self.started += 1
        return self

    def read(self, endpoint, body, json_length, seconds):
        return self.acts.pop(0)(seconds)

    def kill(self):
        self.killed.set()

    def close(self):
        self.kill()


def lost(seconds):
    raise ReaderLost


async def test_a_body_that_two_processes_died_of_is_refused(bodies):
    reader = Reader(lost, lost)
    with pytest.raises(RequestRejected) as caught:
        await bodies(start=reader).decode("infer", mixed(3), None)
    assert (caught.value.status, reader.started) == (503, 2)


async def test_a_body_that_takes_too_long_is_not_tried_again(bodies):
    now = [0.0]

    def hang(seconds):
        now[0] += seconds
        raise ReaderLost

    reader = Reader(hang)
    with pytest.raises(RequestRejected) as caught:
        await bodies(start=reader, clock=lambda: now[0]).decode("infer", mixed(3), None)
    assert (caught.value.status, reader.started) == (503, 1)


def test_a_process_that_hangs_is_ended_in_time(process):
    hanging = BodyProcess(MIXED)
    os.kill(hanging.pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(ReaderLost):
        hanging.read("infer", mixed(3), None, 0.2)
    assert time.monotonic() - began < 5
    assert hanging._process.returncode == -signal.SIGKILL


async def test_where_no_process_can_start_bodies_are_read_here_and_it_is_tried_again(bodies):
    now, starts = [0.0], []

    def start(signature):
        starts.append(now[0])
        raise OSError("no process")

    reader = bodies(start=start, clock=lambda: now[0])
    for _ in range(3):
        assert (await reader.decode("infer", mixed(3), None)).rows == 3
    now[0] = large_bodies.RETRY_SECONDS
    assert (await reader.decode("infer", mixed(3), None)).rows == 3
    assert starts == [0.0, large_bodies.RETRY_SECONDS]


async def test_a_replica_that_ends_ends_the_process_in_the_midst_of_a_body(bodies):
    reader = Reader()

    begun = threading.Event()

    def held(seconds):
        begun.set()
        assert reader.killed.wait(10)
        raise ReaderLost

    reader.acts.append(held)
    large = bodies(start=reader)
    waiting = asyncio.ensure_future(large.decode("infer", mixed(3), None))
    assert await asyncio.to_thread(begun.wait, 10)
    large.close()
    with pytest.raises(RequestRejected) as caught:
        await waiting
    assert caught.value.status == 503


async def test_a_body_is_not_read_in_the_replica_itself():
    reader = LargeBodies(MIXED, None)
    try:
        assert (await reader.decode("infer", mixed(20_000), None)).rows == 20_000
        with pytest.raises(RequestRejected) as caught:
            await reader.decode("infer", mixed(100_001), None)
        assert caught.value.status == 413
    finally:
        reader.close()


@pytest.mark.parametrize(
    ("endpoint", "length", "size"),
    [
        ("infer", None, 100),
        ("infer", b"40", 40),
        ("infer", b"4000", 100),
        ("infer", b"-1", 100),
        ("infer", b"9" * 5000, 100),
        ("invocations", b"40", 100),
    ],
)
def test_how_much_of_a_body_is_json(endpoint, length, size):
    assert json_bytes(endpoint, b"x" * 100, length) == size


def test_numbers_that_arrived_are_aligned():
    request = sent(RequestDecoder(MIXED).decode("infer", mixed(3), None))
    assert request.columns["x"].flags.aligned
    assert isinstance(request.columns["c"], np.ndarray)
