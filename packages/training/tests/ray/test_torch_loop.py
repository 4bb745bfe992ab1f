"""The training function by itself: no Ray."""

import sys
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from agentloop.contracts import TrainingDiverged, TrainingError
from agentloop.training.dataset import Part, Target
from agentloop.training.fits import FitRequest
from agentloop.training.torch_checkpoint import LocalSurroundings, read_checkpoint
from agentloop.training.torch_loop import Alone, fit, restore_weights

PARAMETERS = {
    "hidden": [16],
    "dropout": 0.2,
    "learning_rate": 0.02,
    "weight_decay": 1e-4,
    "batch_size": 32,
    "epochs": 12,
}


def part(rows=120, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4)).astype(np.float32)
    return Part(x, (x[:, 0] + x[:, 1] > 0).astype(np.int64))


def request(tmp_path, family="mlp", **parameters):
    target = Target("binary", ("no", "yes"))
    return FitRequest(family, 4, target, {**PARAMETERS, **parameters}, 3, str(tmp_path))


def same(left, right):
    return all((left[name] == right[name]).all() for name in left)


def family(tmp_path, name, body):
    (tmp_path / f"{name}.py").write_text(f"import torch\nfrom torch import nn\n{body}\n")
    sys.modules.pop(name, None)
    return f"{name}:build"


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_the_loss_falls_and_the_best_epoch_is_kept(tmp_path, name):
    fitted = fit(request(tmp_path, name), part(), part(seed=1), Alone())
    losses = [epoch.val_loss for epoch in fitted.history]
    assert fitted.best_loss == min(losses) < losses[0]
    assert fitted.best_epoch == losses.index(min(losses)) + 1


def test_equal_requests_give_equal_weights(tmp_path):
    one = fit(request(tmp_path), part(), part(seed=1), Alone())
    two = fit(request(tmp_path), part(), part(seed=1), Alone())
    other = fit(replace(request(tmp_path), seed=4), part(), part(seed=1), Alone())
    assert same(one.weights, two.weights)
    assert not same(one.weights, other.weights)


class Cut(LocalSurroundings):
    """Dies after some epochs, having saved each."""

    epochs = 5

    def save(self, state, metrics, epoch, last):
        super().save(state, metrics, epoch, last)
        if epoch == self.epochs:
            raise KeyboardInterrupt


def test_a_fit_that_was_cut_off_ends_as_if_it_had_not_been(tmp_path):
    whole = fit(request(tmp_path), part(), part(seed=1), Alone())
    clock = count(0, 60).__next__
    with pytest.raises(KeyboardInterrupt):
        fit(request(tmp_path), part(), part(seed=1), Cut(tmp_path, clock))
    assert len(read_checkpoint(tmp_path)["history"]) == Cut.epochs
    resumed = fit(request(tmp_path), part(), part(seed=1), LocalSurroundings(tmp_path, clock))
    assert resumed.history == whole.history
    assert same(resumed.weights, whole.weights)


def test_a_checkpoint_of_other_parameters_or_a_damaged_one_is_not_used(tmp_path):
    clock = count(0, 60).__next__
    fit(request(tmp_path, epochs=6), part(), part(seed=1), LocalSurroundings(tmp_path, clock))
    fitted = fit(request(tmp_path), part(), part(seed=1), LocalSurroundings(tmp_path, clock))
    assert len(fitted.history) == PARAMETERS["epochs"]
    (tmp_path / "checkpoint.pt").write_bytes(b"half a file")
    assert read_checkpoint(tmp_path) is None


def test_training_stops_when_nothing_gets_better(tmp_path):
    noise = Part(part().features, np.random.default_rng(9).integers(0, 2, 120))
    fitted = fit(request(tmp_path, epochs=200), noise, part(seed=1), Alone())
    assert len(fitted.history) < 200


def test_a_loss_that_is_no_number_is_divergence(tmp_path):
    wild = Part(part().features * 1e30, part().targets)
    with pytest.raises(TrainingDiverged, match="epoch 1"):
        fit(request(tmp_path, learning_rate=1e6), wild, wild, Alone())


def test_a_users_family_is_trained(tmp_path):
    name = family(
        tmp_path,
        "nets_good",
        "def build(inputs, outputs, parameters):\n"
        "    w = parameters['hidden'][0]\n"
        "    return nn.Sequential(nn.Linear(inputs, w), nn.BatchNorm1d(w), nn.Linear(w, outputs))",
    )
    asked = request(tmp_path, name)
    fitted = fit(asked, part(97), part(seed=1), Alone())  # 97 rows leave a batch of one
    assert not restore_weights(asked, fitted.weights).training


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("def build(inputs, outputs, parameters): return nn.Linear(inputs, 7)", r"shape \(2, 7\)"),
        ("def build(inputs, outputs, parameters): return 42", "not a torch module"),
        ("def build(inputs): return nn.Linear(inputs, 2)", "TypeError"),
        ("def other(): pass", "AttributeError"),
        ("import nowhere_to_be_found", "ModuleNotFoundError"),
    ],
)
def test_a_users_family_that_cannot_be_used_says_why(tmp_path, body, reason):
    name = family(tmp_path, f"nets_bad_{abs(hash(body))}", body)
    with pytest.raises(TrainingError, match=reason):
        fit(request(tmp_path, name), part(), part(), Alone())
