"""Plain Ray Serve: peer_ray.py PORT FOLDER (default | tuned | splitter).

``default`` sets no option at all; ``tuned`` has the access log off and more requests a replica;
``splitter`` is the common way to a canary, an app that picks one of two others in Python.
"""

from __future__ import annotations

import random
import signal
import sys
import threading
from typing import Any

import ray
from peer_network import Network
from ray import serve
from starlette.requests import Request

TUNED = {"max_ongoing_requests": 200}
QUIET = {"enable_access_log": False}


class MLP:
    def __init__(self) -> None:
        self.network = Network()

    async def __call__(self, request: Request) -> dict[str, Any]:
        return self.answer((await request.json())["instances"])

    def answer(self, rows: list[list[float]]) -> dict[str, Any]:
        return {"predictions": self.network.scores(rows).tolist()}


class Splitter:
    """90% of the requests to one app, 10% to the other."""

    def __init__(self) -> None:
        self.blue, self.green = (serve.get_app_handle(name) for name in ("blue", "green"))

    async def __call__(self, request: Request) -> dict[str, Any]:
        handle = self.green if random.random() < 0.1 else self.blue
        rows = (await request.json())["instances"]
        answer: dict[str, Any] = await handle.answer.remote(rows)
        return answer


def start(mode: str) -> None:
    if mode == "default":
        serve.run(serve.deployment(MLP).bind(), name="mlp", route_prefix="/predict")
        return
    options = {**TUNED, "logging_config": QUIET}
    model = serve.deployment(MLP, ray_actor_options={"num_cpus": 0.2}, **options)
    if mode == "tuned":
        serve.run(model.bind(), name="mlp", route_prefix="/predict")
        return
    for name in ("blue", "green"):
        serve.run(model.bind(), name=name, route_prefix=f"/{name}")
    split = serve.deployment(Splitter, ray_actor_options={"num_cpus": 0.2}, **options)
    serve.run(split.bind(), name="split", route_prefix="/predict")


def main() -> int:
    port, folder, mode = sys.argv[1:]
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    ray.init(num_cpus=2, include_dashboard=False, _temp_dir=folder, log_to_driver=False)
    try:
        quiet = {} if mode == "default" else {"logging_config": QUIET}
        serve.start(http_options={"host": "127.0.0.1", "port": int(port)}, **quiet)
        start(mode)
        ended.wait()
    finally:
        serve.shutdown()
        ray.shutdown()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
