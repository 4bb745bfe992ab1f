"""A replica's HTTP server with the model's application at its very front.

Serve puts a function of its own before an application: it copies the headers, starts two tasks and
fills a dozen records a request, several times what a prediction takes. All that a replica needs of
it are the count of what is under way, which drains and scales it, and the health checks of Serve's
proxy; those stay. Where a version of Serve is built otherwise, its own way is kept.
"""

from __future__ import annotations

import logging
from asyncio import Task
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from agentloop.serving.replica.app import ReplicaApp

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger(__name__)


class LeanIngress:
    """Calls ``app`` for what is below the replica's route, and Serve for all else.

    ``owner`` is Serve's replica, in whose process this runs.
    """

    def __init__(self, app: ReplicaApp, serve_app: Asgi, owner: Any) -> None:
        self._app = app
        self._serve_app = serve_app
        self._owner = owner
        self._root: str = owner._route_prefix
        self._below = f"{self._root}/"
        # Named here, so that another Serve is found out now and not by a request.
        _ = owner._shutting_down

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(self._below):
            await self._serve_app(scope, receive, send)
            return
        if self._owner._shutting_down:
            self._app.drain()
        scope["root_path"] = self._root
        await self._app(scope, receive, send)


class CountedTasks(set[Task[Any]]):
    """The HTTP server's tasks, one a request, told to Serve's counts as they come and go.

    They are there from the moment that a request was read: one that waits for its turn in a busy
    loop is under way too, and is what more replicas are started for.
    """

    def __init__(self, counts: Any) -> None:
        super().__init__()
        self._counts = counts
        counts._num_ongoing_requests += 0

    def add(self, task: Task[Any]) -> None:
        super().add(task)
        self._counts._num_ongoing_requests += 1

    def discard(self, task: object) -> None:
        super().discard(task)
        self._counts._num_ongoing_requests -= 1


def put_in_front(app: ReplicaApp) -> None:
    """Let the HTTP server that Serve starts in this process, once the replica is made, call
    ``app`` first."""
    from ray.serve._private import replica

    start = replica.start_asgi_http_server

    async def start_lean(serve_app: Any, options: Any, **more: Any) -> Any:
        task, server = await start(serve_app, options, **more)
        try:
            # The server's task has not run yet, so that it has not read its configuration.
            owner, config = serve_app.__self__, server.config
            lean = LeanIngress(app, config.app(), owner)
            server.server_state.tasks = CountedTasks(owner._metrics_manager)
            config.app = lambda: lean
            config.proxy_headers = config.server_header = False
        except Exception as error:
            log.warning("Serve keeps its own way to this replica, which is slower: %r", error)
        return task, server

    replica.start_asgi_http_server = start_lean
