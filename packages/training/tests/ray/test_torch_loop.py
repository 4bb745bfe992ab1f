"""The training function by itself: no Ray."""

import sys
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch

from agentloop.contracts import TrainingDiverged, TrainingError
from agentloop.contracts.spec_families import ParametersSpec, parameters_of
from agentloop.training.families import family_of
from agentloop.training.fits import Alone, FitRequest, Layout, Part, Target
from agentloop.training.torch_checkpoint import LocalSurroundings, read_checkpoint
from agentloop.training.torch_families import restore_weights
from agentloop.training.torch_loop import fit
from agentloop.training.torch_scores import raw_scores

PARAMETERS = {
    "hidden": [16],
    "dropout": 0.2,
    "learning_rate": 0.02,
    "weight_decay": 1e-4,
    "batch_size": 32,
    "epochs": 12,
    "embedding": 0,
}
NUMBERS = Layout((0.0,) * 4, (1.0,) * 4)
ALONE = Alone(threads=1)  # a second thread waits for the first on a busy machine


def part(rows=120, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4)).astype(np.float32)
    return Part(x, (x[:, 0] + x[:, 1] > 0).astype(np.int64))


def request(tmp_path, family="mlp", **parameters):
    target = Target("binary", ("no", "yes"))
    return FitRequest(family, NUMBERS, target, {**PARAMETERS, **parameters}, 3, str(tmp_path))


def same(left, right):
    return all((left[name] == right[name]).all() for name in left)


def family(tmp_path, name, body):
    (tmp_path / f"{name}.py").write_text(f"import torch\nfrom torch import nn\n{body}\n")
    sys.modules.pop(name, None)
    return f"{name}:build"


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_the_loss_falls_and_the_best_epoch_is_kept(tmp_path, name):
    fitted = fit(request(tmp_path, name), part(), part(seed=1), ALONE)
    losses = [epoch.val_loss for epoch in fitted.history]
    assert fitted.best_loss == min(losses) < losses[0]
    assert fitted.best_epoch == losses.index(min(losses)) + 1


def test_equal_requests_give_equal_weights(tmp_path):
    one = fit(request(tmp_path), part(), part(seed=1), ALONE)
    two = fit(request(tmp_path), part(), part(seed=1), ALONE)
    other = fit(replace(request(tmp_path), seed=4), part(), part(seed=1), ALONE)
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
    whole = fit(request(tmp_path), part(), part(seed=1), ALONE)
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
    for path in tmp_path.rglob("checkpoint.pt"):
        path.write_bytes(b"half a file")
    assert read_checkpoint(tmp_path) is None


def test_training_stops_when_nothing_gets_better(tmp_path):
    noise = Part(part().features, np.random.default_rng(9).integers(0, 2, 120))
    fitted = fit(request(tmp_path, epochs=200), noise, part(seed=1), ALONE)
    assert len(fitted.history) < 200


def test_a_loss_that_is_no_number_is_divergence(tmp_path):
    wild = Part(part().features * 1e30, part().targets)
    with pytest.raises(TrainingDiverged, match="epoch 1"):
        fit(request(tmp_path, learning_rate=1e6), wild, wild, ALONE)


def test_a_users_family_is_trained(tmp_path):
    name = family(
        tmp_path,
        "nets_good",
        "def build(inputs, outputs, parameters):\n"
        "    w = parameters['hidden'][0]\n"
        "    return nn.Sequential(nn.Linear(inputs, w), nn.BatchNorm1d(w), nn.Linear(w, outputs))",
    )
    asked = request(tmp_path, name)
    fitted = fit(asked, part(97), part(seed=1), ALONE)  # 97 rows leave a batch of one
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
        fit(request(tmp_path, name), part(), part(), ALONE)


# --- the built-in networks ------------------------------------------------------------------------

MIXED = Layout((0.0,) * 3, (1.0,) * 3, blocks=(4, 2), text=5)
PICTURE = Layout((30.0,) * 64, (12.0,) * 64)
NETWORKS = {
    "mlp": (MIXED, {"embedding": 3, "hidden": (16,)}),
    "ft-transformer": (MIXED, {"width": 16, "heads": 2}),
    "cnn": (PICTURE, {"channels": (4, 8), "hidden": (16,), "shift": 1}),
}


def network(name, **parameters):
    layout, chosen = NETWORKS[name]
    defaults = parameters_of(name, ParametersSpec())
    target = Target("multiclass", ("a", "b", "c"))
    given = {**defaults, **chosen, "epochs": 4, "batch_size": 32, **parameters}
    return FitRequest(name, layout, target, given, 3, ".")


def rows_for(asked, rows=150, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, asked.inputs)).astype(np.float32)
    return Part(x, np.digitize(x[:, 0] + x[:, 1], [-0.6, 0.6]).astype(np.int64))


@pytest.mark.parametrize("name", list(NETWORKS))
def test_every_network_learns_twice_alike_and_is_exported(tmp_path, name):
    asked = network(name, epochs=12, learning_rate=0.01)
    train, tune = rows_for(asked, 600), rows_for(asked, seed=1)
    one, two = (family_of(name).fit(asked, train, tune, ALONE) for _ in range(2))
    assert same(one.weights, two.weights)
    assert one.best_loss < 0.9 * np.log(3)  # of guessing
    model = family_of(name).load(asked, {n: v.numpy() for n, v in one.weights.items()})
    model.export(tmp_path / "m.onnx")
    import onnxruntime

    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    exported = session.run(["raw"], {"features": tune.features[:7]})[0]
    np.testing.assert_allclose(exported, model.raw(tune.features[:7]), atol=1e-5)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_network_that_was_cut_off_ends_as_if_it_had_not_been(tmp_path, name):
    asked = network(name, epochs=8, patience=8, accumulate=2)
    train, tune = rows_for(asked), rows_for(asked, seed=1)
    whole = fit(asked, train, tune, ALONE)
    clock = count(0, 60).__next__
    with pytest.raises(KeyboardInterrupt):
        fit(asked, train, tune, Cut(tmp_path, clock, threads=1))
    resumed = fit(asked, train, tune, LocalSurroundings(tmp_path, clock, threads=1))
    assert same(resumed.weights, whole.weights)


def test_gradients_of_pieces_add_up_to_those_of_the_batch(tmp_path):
    whole = fit(request(tmp_path, dropout=0.0), part(), part(seed=1), ALONE)
    pieces = fit(request(tmp_path, dropout=0.0, accumulate=4), part(), part(seed=1), ALONE)
    assert pieces.best_loss == pytest.approx(whole.best_loss, rel=1e-3)


def test_without_validation_every_epoch_is_used(tmp_path):
    fitted = fit(request(tmp_path, epochs=9, patience=1), part(), None, ALONE)
    assert (fitted.best_epoch, len(fitted.history)) == (9, 9)
    assert all(np.isnan(epoch.val_loss) for epoch in fitted.history)


def test_bfloat16_learns_too(tmp_path):
    fitted = fit(replace(request(tmp_path), precision="bfloat16"), part(), part(seed=1), ALONE)
    assert fitted.best_loss < fitted.history[0].val_loss


def test_float16_is_resumed_with_the_scale_of_its_gradients(tmp_path):
    asked = replace(request(tmp_path), precision="float16")
    whole = fit(asked, part(), part(seed=1), ALONE)
    clock = count(0, 60).__next__
    with pytest.raises(KeyboardInterrupt):
        fit(asked, part(), part(seed=1), Cut(tmp_path, clock))
    assert read_checkpoint(tmp_path)["scaler"]["scale"] > 1
    assert same(
        fit(asked, part(), part(seed=1), LocalSurroundings(tmp_path, clock)).weights, whole.weights
    )


def test_a_checkpoint_of_another_precision_is_not_used(tmp_path):
    clock = count(0, 60).__next__
    with pytest.raises(KeyboardInterrupt):
        fit(request(tmp_path), part(), part(seed=1), Cut(tmp_path, clock))
    half = replace(request(tmp_path), precision="bfloat16")
    fitted = fit(half, part(), part(seed=1), LocalSurroundings(tmp_path, clock))
    assert same(fitted.weights, fit(half, part(), part(seed=1), ALONE).weights)
    assert half.fingerprint != request(tmp_path).fingerprint


def test_the_picture_network_is_fitted_on_two_threads_too():
    asked = network("cnn")
    one, two = (fit(asked, rows_for(asked), None, Alone(threads=n)) for n in (2, 2))
    assert same(one.weights, two.weights)


def test_the_settings_of_torch_come_back(tmp_path):
    before = torch.get_num_threads(), torch.utils.deterministic.fill_uninitialized_memory
    fit(request(tmp_path), part(), None, ALONE)
    assert before == (
        torch.get_num_threads(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )
    assert not torch.are_deterministic_algorithms_enabled()


def test_an_unseen_category_is_like_none_at_all():
    asked = network("mlp")
    model = restore_weights(asked, fit(asked, rows_for(asked), None, ALONE).weights)
    rows = rows_for(asked, 2).features
    rows[:, 3:7] = 0.0  # the first category block: null, or unseen
    assert np.isfinite(raw_scores(model, rows)).all()


@pytest.mark.parametrize(
    ("layout", "image", "reason"),
    [
        (MIXED, None, "categories"),
        (Layout((0.0,) * 63, (1.0,) * 63), None, "no picture of 7×7×1"),
        (PICTURE, (8, 9), "no picture of 8×9×1"),
        (PICTURE, (8, 4, 2, 1), "no picture"),
    ],
)
def test_columns_that_are_no_picture_are_refused(layout, image, reason):
    asked = replace(network("cnn", image=image), layout=layout)
    with pytest.raises(TrainingError, match=reason):
        family_of("cnn").check(asked)


def test_attention_needs_a_width_for_every_head():
    with pytest.raises(TrainingError, match="multiple of heads"):
        family_of("ft-transformer").check(network("ft-transformer", width=10, heads=4))


def test_a_users_training_loop_takes_the_place_of_ours(tmp_path):
    name = family(
        tmp_path,
        "nets_own_loop",
        "def build(inputs, outputs, parameters): return nn.Linear(inputs, outputs)\n"
        "def train(model, request, train, tune, around):\n"
        "    with torch.no_grad(): model.weight.fill_(0.5)\n"
        "    return [(1.0, 0.7), (0.9, 0.6)]\n"
        "build.train = train",
    )
    fitted = fit(request(tmp_path, name), part(), part(seed=1), ALONE)
    assert [epoch.val_loss for epoch in fitted.history] == [0.7, 0.6]
    assert (fitted.weights["weight"] == 0.5).all()
    assert fitted.best_loss == pytest.approx(np.log(2), abs=0.2)
