"""Lineage over real HTTP, to a server that speaks as Marquez does."""

import json
import socket
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from agentloop.lifecycle.lineage_testing import EVENT, LineageSuite
from agentloop.lifecycle.openlineage_emitter import FileLineage, open_lineage
from agentloop.lifecycle.openlineage_outbox import Outbox

pytestmark = pytest.mark.ray


class Marquez:
    """POST /api/v1/lineage; answers with ``status``, after ``delay_s``."""

    def __init__(self, port=0):
        self.events, self.keys, self.status, self.delay_s = [], [], 201, 0.0
        marquez = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                time.sleep(marquez.delay_s)
                status = marquez.status if self.path == "/api/v1/lineage" else 404
                if status == 201:
                    marquez.events.append(body)
                    marquez.keys.append(self.headers.get("authorization"))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def marquez():
    server = Marquez()
    yield server
    server.stop()


def opened(home, url, warn=print):
    key = {"OPENLINEAGE_URL": url, "OPENLINEAGE_API_KEY": "k3y"}
    return open_lineage(home, key, warn)


class TestHttp(LineageSuite):
    @pytest.fixture
    def emitter(self, tmp_path, marquez):
        return opened(tmp_path, marquez.url)

    @pytest.fixture
    def received(self, marquez):
        return lambda: marquez.events


def test_the_key_goes_along_and_is_not_written(tmp_path, marquez):
    emitter = opened(tmp_path, marquez.url)
    emitter.emit(EVENT)
    emitter.flush()
    assert marquez.keys == ["Bearer k3y"]
    written = [path.read_text() for path in (tmp_path / "lineage").iterdir()]
    assert "k3y" not in "".join(written)


def test_what_a_server_missed_is_sent_with_the_next_event(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = []
    opened_before = opened(tmp_path, f"http://127.0.0.1:{port}", told.append)
    for state in ("START", "FAIL"):
        opened_before.emit(replace(EVENT, state=state))
        opened_before.flush()
    assert len(told) == 1
    assert "ConnectionError" in told[0]
    marquez = Marquez(port)
    emitter = opened(tmp_path, marquez.url)
    emitter.emit(replace(EVENT, state="COMPLETE"))
    emitter.flush()
    marquez.stop()
    assert [event["eventType"] for event in marquez.events] == ["START", "FAIL", "COMPLETE"]


def test_each_event_is_sent_once_by_any_process(tmp_path, marquez):
    for state in ("START", "COMPLETE"):
        emitter = opened(tmp_path, marquez.url)
        emitter.emit(replace(EVENT, state=state))
        emitter.flush()
    assert [event["eventType"] for event in marquez.events] == ["START", "COMPLETE"]


@pytest.mark.parametrize(("status", "kept_for_later"), [(503, True), (401, True), (422, False)])
def test_an_event_refused_for_good_does_not_hold_up_the_rest(
    tmp_path, marquez, status, kept_for_later
):
    told = []
    marquez.status = status
    first = opened(tmp_path, marquez.url, told.append)
    first.emit(EVENT)
    first.flush()
    assert len(told) == 1
    marquez.status = 201
    emitter = opened(tmp_path, marquez.url, told.append)
    emitter.emit(replace(EVENT, state="COMPLETE"))
    emitter.flush()
    assert len(marquez.events) == (2 if kept_for_later else 1)


def test_a_silent_server_costs_a_run_nothing_twice(tmp_path, marquez):
    marquez.delay_s = 1.0
    outbox = Outbox(marquez.url, tmp_path / "outbox.json", timeout_s=0.2)
    emitter = FileLineage(tmp_path / "events.jsonl", outbox, lambda _: None)
    emitter.emit(EVENT)
    emitter.flush()
    began = time.monotonic()
    for _ in range(5):
        emitter.emit(EVENT)
    emitter.flush()
    assert time.monotonic() - began < 0.2
    assert len(list(emitter.events())) == 6


def test_emitting_does_not_wait_for_the_server(tmp_path, marquez):
    marquez.delay_s = 0.5
    emitter = opened(tmp_path, marquez.url)
    open_lineage(tmp_path, {}).emit(EVENT)  # imports what is imported once
    began = time.monotonic()
    emitter.emit(EVENT)
    assert time.monotonic() - began < 0.4
    emitter.flush()
    assert len(marquez.events) == 2


def test_a_url_that_is_none_is_one_warning(tmp_path):
    told = []
    emitter = opened(tmp_path, "not a url", told.append)
    emitter.emit(EVENT)
    emitter.flush()
    assert len(told) == 1
    assert len(list(emitter.events())) == 1
