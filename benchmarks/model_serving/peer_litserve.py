"""LitServe with one worker: peer_litserve.py PORT (default | fast)."""

from __future__ import annotations

import sys

import litserve
from peer_network import Network


class MLP(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.network = Network()

    # Bare signatures: LitServe makes a route out of what is annotated here.
    def decode_request(self, request):
        return request["instances"]

    def predict(self, x):
        return self.network.scores(x)

    def encode_response(self, output):
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(
        MLP(), accelerator="cpu", workers_per_device=1, fast_queue=sys.argv[2] == "fast"
    )
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
