"""The status of a model behind an edge that asks for keys and TLS."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentloop.contracts import TrafficSplit
from agentloop.loop import status
from agentloop.loop.home import StateFolder
from agentloop.serving import EdgeAddress, control_store
from agentloop.serving.edge.guards import EdgeGuards, Inside, save_guards


class Door(http.server.BaseHTTPRequestHandler):
    """Answers by the secret path alone."""

    def do_GET(self) -> None:
        found = self.path == "/_inside/secret/v2/models/tiny/ready"
        self.send_response(200 if found else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def door() -> Iterator[int]:
    with http.server.HTTPServer(("127.0.0.1", 0), Door) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_it_asks_by_the_door_inside(
    door: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentloop.serving.endpoints.run_dir", lambda _: tmp_path)
    store = control_store(tmp_path)
    store.put_address(EdgeAddress("127.0.0.1", 1, 2, tls=True))
    store.put_split(TrafficSplit("tiny", {"1": 100.0}, "1", 1))
    save_guards(tmp_path, EdgeGuards(keys=True, inside=Inside(door, "secret")))
    found = status._model(StateFolder(tmp_path), "tiny", "https://127.0.0.1:1")
    assert found["ready"]
    assert found["endpoint"] == "https://127.0.0.1:1/v2/models/tiny/infer"
    save_guards(tmp_path, EdgeGuards(keys=True, inside=Inside(door, "another")))
    assert not status._model(StateFolder(tmp_path), "tiny", "https://127.0.0.1:1")["ready"]
