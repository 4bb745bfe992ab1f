"""Which predictor a replica gets: ONNX Runtime on the CPU; with a GPU, torch where it can."""

from __future__ import annotations

import logging

from agentloop.contracts.errors import ArtifactUnverified
from agentloop.lifecycle.bundle import ModelBundle
from agentloop.serving.ports import Predictor

log = logging.getLogger(__name__)


def load_predictor(bundle: ModelBundle, gpus: float) -> Predictor:
    """``gpus`` is the replica's reservation. Trees and a user's own network, which torch cannot
    rebuild from numbers alone, are answered by ONNX Runtime, on the GPU if its build knows one."""
    from agentloop.serving.replica.onnx_predictor import CPU, CUDA, OnnxPredictor, has_cuda

    if not gpus:
        return OnnxPredictor(bundle)
    from agentloop.serving.replica.torch_predictor import TorchPredictor, gpu_device

    device = gpu_device()
    if device is not None:
        try:
            return TorchPredictor(bundle, device)
        except ArtifactUnverified as error:
            log.warning("the GPU is left to ONNX Runtime: %s", error.summary)
    if has_cuda():
        return OnnxPredictor(bundle, (CUDA, CPU))
    log.warning("serving.gpus is %g, and this replica answers on the CPU", gpus)
    return OnnxPredictor(bundle)
