"""Nothing but Starlette, orjson and the network: the upper reference of a Python server."""

from __future__ import annotations

import orjson
from peer_network import Network
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

network = Network()


async def predict(request: Request) -> Response:
    scores = network.scores(orjson.loads(await request.body())["instances"])
    answer = orjson.dumps({"predictions": scores}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(answer, media_type="application/json")


app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
