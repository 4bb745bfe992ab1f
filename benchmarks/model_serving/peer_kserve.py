"""KServe's Python server, V1 body: peer_kserve.py PORT."""

from __future__ import annotations

import logging
import sys
from typing import Any

import kserve
from peer_network import Network


class MLP(kserve.Model):
    def __init__(self) -> None:
        super().__init__("mlp")
        self.network = Network()
        self.ready = True

    async def predict(self, payload: Any, *_: Any, **__: Any) -> Any:
        return {"predictions": self.network.scores(payload["instances"]).tolist()}


if __name__ == "__main__":
    logging.disable(logging.INFO)
    server = kserve.ModelServer(
        http_port=int(sys.argv[1]),
        workers=1,
        enable_grpc=False,
        enable_latency_logging=False,
        access_log_format=None,
    )
    server.start([MLP()])
