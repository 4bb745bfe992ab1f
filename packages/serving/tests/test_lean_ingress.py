"""What stands before a model's application in Serve's HTTP server, without Serve."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from agentloop.serving.replica.serve_lean_ingress import CountedTasks, LeanIngress


class App:
    def __init__(self):
        self.seen, self.draining = [], False

    def drain(self):
        self.draining = True

    async def __call__(self, scope, receive, send):
        self.seen.append((scope["path"], scope["root_path"]))


def ingress(**owner):
    app, others = App(), []

    async def serve_app(scope, receive, send):
        others.append(scope["path"])

    owner = SimpleNamespace(_route_prefix="/m--1", _shutting_down=False, **owner)
    return LeanIngress(app, serve_app, owner), app, others, owner


async def test_what_is_below_the_route_goes_to_the_model_and_all_else_to_serve():
    lean, app, others, _ = ingress()
    for path in ("/m--1/v2", "/-/healthz", "/m--10/v2", "/m--1", ""):
        await lean({"type": "http", "path": path}, None, None)
    await lean({"type": "websocket", "path": "/m--1/v2"}, None, None)
    assert app.seen == [("/m--1/v2", "/m--1")]
    assert others == ["/-/healthz", "/m--10/v2", "/m--1", "", "/m--1/v2"]


async def test_a_replica_that_is_shutting_down_drains():
    lean, app, _, owner = ingress()
    await lean({"type": "http", "path": "/m--1/v2"}, None, None)
    assert not app.draining
    owner._shutting_down = True
    await lean({"type": "http", "path": "/m--1/v2"}, None, None)
    assert app.draining


def test_another_serve_is_found_out_before_any_request():
    with pytest.raises(AttributeError):
        LeanIngress(App(), None, SimpleNamespace(_route_prefix="/m--1"))
    with pytest.raises(AttributeError):
        CountedTasks(SimpleNamespace())


def test_tasks_are_counted_from_their_first_moment_to_their_last():
    counts = SimpleNamespace(_num_ongoing_requests=0)
    tasks, first, second = CountedTasks(counts), object(), object()
    tasks.add(first)
    tasks.add(second)
    assert (len(tasks), counts._num_ongoing_requests) == (2, 2)
    tasks.discard(first)
    assert (len(tasks), counts._num_ongoing_requests) == (1, 1)
