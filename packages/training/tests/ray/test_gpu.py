"""The same fits on a GPU where there is one, and on the CPU where there is none."""

from pathlib import Path

import numpy as np
import pytest
import torch

from agentloop.contracts.spec_families import ParametersSpec, parameters_of
from agentloop.training.families import family_of
from agentloop.training.fits import FitRequest, Layout, Part, Target
from agentloop.training.ray_trainer import train_with_ray

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
IMAGE = 12
FAMILIES = {
    "linear": {},
    "mlp": {"hidden": [16]},
    "ft-transformer": {},
    "cnn": {},
}


def asked(family, precision="auto"):
    given = {"epochs": 3, "batch_size": 64, **FAMILIES[family]}
    width = IMAGE * IMAGE if family == "cnn" else 6
    return FitRequest(
        family,
        Layout((0.0,) * width, (1.0,) * width),
        Target("binary", ("no", "yes")),
        parameters_of(family, ParametersSpec(**given)),
        3,
        ".",
        use_gpu=True,
        precision=precision,
    )


def part(request, seed):
    x = np.random.default_rng(seed).normal(size=(400, request.inputs)).astype(np.float32)
    return Part(x, (x[:, 0] > 0).astype(np.int64))


def fitted(request, folder):
    return train_with_ray(request, part(request, 0), part(request, 1), 0, folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_trained_there_answers_the_same_on_the_cpu(family, tmp_path):
    request = asked(family, "float32")
    fit = fitted(request, tmp_path)
    weights = {name: torch.as_tensor(value).cpu() for name, value in fit.weights.items()}
    predictor = family_of(family).load(request, weights)
    path = tmp_path / "model.onnx"
    predictor.export(path)
    import onnxruntime

    rows = part(request, 2).features
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    exported = session.run(["raw"], {"features": rows})[0]
    assert np.abs(exported - predictor.raw(rows)).max() <= 1e-5


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_precision_learns(precision, tmp_path):
    fit = fitted(asked("mlp", precision), tmp_path)
    assert fit.history[-1].val_loss < fit.history[0].val_loss


@pytest.mark.skipif(DEVICE == "cpu", reason="float16 is for GPUs")
def test_half_precision_learns_and_keeps_its_scale(tmp_path):
    fit = fitted(asked("mlp", "float16"), tmp_path)
    assert fit.history[-1].val_loss < fit.history[0].val_loss


def test_two_fits_are_equal_bit_for_bit(tmp_path):
    first, second = (fitted(asked("mlp"), tmp_path / name) for name in "ab")
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)


def test_the_gpu_is_used_where_there_is_one(tmp_path):
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if DEVICE == "cuda" else 0
    fitted(asked("mlp"), Path(tmp_path))
    peak = torch.cuda.max_memory_allocated() if DEVICE == "cuda" else 0
    assert (peak > before) == (DEVICE == "cuda")
