"""An MLServer runtime; ``mlserver start`` finds it by the settings that launch.py writes."""

from __future__ import annotations

import numpy as np
from mlserver import MLModel
from mlserver.codecs import decode_args
from peer_network import Network


class MLP(MLModel):
    async def load(self) -> bool:
        self.network = Network()
        return True

    @decode_args
    async def predict(self, features: np.ndarray) -> np.ndarray:
        return self.network.scores(features)
