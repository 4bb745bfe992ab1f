"""Networks and training loops that users bring, and what goes wrong in them."""

import re
import sys
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from agentloop.contracts import DiskFull, TrainingDiverged, TrainingError
from agentloop.training.families import family_of
from agentloop.training.fits import Alone, FitRequest, Layout, Part, Target
from agentloop.training.torch_families import restore_weights
from agentloop.training.torch_loop import fit

ALONE = Alone(threads=1)
PARAMETERS = {
    "hidden": (8,),
    "dropout": 0.0,
    "learning_rate": 0.02,
    "weight_decay": 1e-4,
    "batch_size": 32,
    "epochs": 2,
}
NAMES = count()
LINEAR = "def build(inputs, outputs, parameters): return nn.Linear(inputs, outputs)"


def part(rows=120, seed=0):
    x = np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)
    return Part(x, (x[:, 0] > 0).astype(np.int64))


def asked(tmp_path, body, **parameters):
    """A request for the network that ``body``, a module's text, builds."""
    name = f"users_net_{next(NAMES)}"
    (tmp_path / f"{name}.py").write_text(f"import torch\nfrom torch import nn\n{body}\n")
    sys.modules.pop(name, None)
    layout, target = Layout((0.0,) * 4, (1.0,) * 4), Target("binary", ("no", "yes"))
    given = {**PARAMETERS, **parameters}
    return FitRequest(f"{name}:build", layout, target, given, 3, str(tmp_path))


def network(forward):
    return (
        "class Net(nn.Module):\n"
        "    def __init__(self, inputs, outputs):\n"
        "        super().__init__()\n"
        "        self.layer = nn.Linear(inputs, outputs)\n"
        f"    def forward(self, x):\n        {forward}\n"
        "def build(inputs, outputs, parameters): return Net(inputs, outputs)"
    )


def loop(*lines, net=LINEAR):
    body = "\n".join(f"    {line}" for line in lines)
    return f"{net}\ndef train(model, request, train, tune, around):\n{body}\nbuild.train = train"


class Shared(Alone):
    """As if another process took part."""

    world = 2
    rows = None


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        ("assert not self.training, 'no'\n        return self.layer(x)", "AssertionError: no"),
        ("return self.layer(x)[:, :1] if self.training else self.layer(x)", r"shape \(32, 1\)"),
        ("return (self.layer(x),) if self.training else self.layer(x)", r"shape \(\)"),
        ("return self.layer(x).long() if self.training else self.layer(x)", "torch.int64"),
        ("return self.layer(x).detach()", "does not require grad"),
        ("return self.layer(x).squeeze()", r"shape \(2,\); it must be \(1, 2\)"),
    ],
)
def test_a_network_that_fails_while_it_trains_is_named(tmp_path, forward, reason):
    request = asked(tmp_path, network(forward))
    with pytest.raises(TrainingError, match=reason) as raised:
        fit(request, part(), part(seed=1), ALONE)
    assert request.family in str(raised.value)
    assert "mend the family's code" in raised.value.next_step


def test_a_network_without_weights_is_named(tmp_path):
    body = "def build(inputs, outputs, parameters): return nn.AvgPool1d(2)"
    with pytest.raises(TrainingError, match="empty parameter list"):
        fit(asked(tmp_path, body), part(), None, ALONE)


def test_one_of_several_workers_ends_them_all_with_a_plain_error(tmp_path):
    request = asked(tmp_path, network("assert not self.training\n        return self.layer(x)"))
    with pytest.raises(RuntimeError, match=f"family {request.family} failed with AssertionError"):
        fit(request, part(), None, Shared(threads=1))


@pytest.mark.parametrize("accumulate", [31, 32, 100])
def test_no_piece_of_a_batch_is_one_row(tmp_path, accumulate):
    body = (
        "def build(inputs, outputs, parameters):\n"
        "    return nn.Sequential(nn.BatchNorm1d(inputs), nn.Linear(inputs, outputs))"
    )
    request = asked(tmp_path, body, accumulate=accumulate)
    assert len(fit(request, part(101), part(seed=1), ALONE).history) == 2  # batches of 32 and 5


class Pruned(Exception):
    """What a search raises to end a trial."""


@pytest.mark.parametrize(
    "error", [Pruned("not good"), SystemExit(0), KeyboardInterrupt(), DiskFull("/disk", 5, 1)]
)
def test_what_saving_raises_goes_through_a_users_loop_unchanged(tmp_path, error):
    def report(epoch, loss):
        raise error

    body = loop("around.save({}, {'val_loss': 0.5}, 1, False)")
    with pytest.raises(type(error)) as raised:
        fit(asked(tmp_path, body), part(), part(seed=1), Alone(report, threads=1))
    assert raised.value is error


def test_what_a_users_loop_raises_itself_names_the_family(tmp_path):
    body = loop("around.save({}, {'val_loss': 0.5}, 1, False)", "raise KeyError('mine')")
    with pytest.raises(TrainingError, match=r"users_net_\d+:build failed with KeyError: 'mine'"):
        fit(asked(tmp_path, body), part(), part(seed=1), ALONE)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (("return 3",), "TypeError"),
        (("return [(0.1, 0.2, 0.3)]",), "ValueError"),
        (("around.save({}, {}, 1, True)",), "without its val_loss"),
        (("model.to('meta')",), "NotImplementedError"),
        (("model.weight = nn.Parameter(torch.zeros(7, 4))",), "another network"),
        (("model.extra = nn.Linear(2, 2)",), "another network"),
    ],
)
def test_a_loop_that_leaves_something_else_behind_says_so(tmp_path, lines, reason):
    request = asked(tmp_path, loop(*lines))
    with pytest.raises(TrainingError, match=reason) as raised:
        fit(request, part(), part(seed=1), ALONE)
    assert request.family in str(raised.value)


@pytest.mark.parametrize("tune", [part(seed=1), None], ids=["validated", "blind"])
def test_a_loop_that_ends_in_nan_has_diverged(tmp_path, tune):
    body = loop("model.weight.data.fill_(float('nan'))")
    with pytest.raises(TrainingDiverged, match="no number"):
        fit(asked(tmp_path, body), part(), tune, ALONE)


@pytest.mark.parametrize(
    "last", ["model.cpu()", "model.double()", "model.half()", "model.forward = lambda x: x"]
)
def test_what_is_judged_is_what_is_loaded_however_the_loop_left_it(tmp_path, last):
    request = asked(tmp_path, loop("model.weight.data.fill_(0.5)", "model.bias.data.zero_()", last))
    fitted = fit(request, part(), part(seed=1), ALONE)
    model = restore_weights(request, fitted.weights)
    assert model.weight.dtype.is_floating_point
    assert (model.weight == 0.5).all()
    assert fitted.best_loss == pytest.approx(np.log(2))


@pytest.mark.parametrize(
    "forward",
    ["return self.layer(torch.special.bessel_j0(x))", "return self.layer(torch.fft.fft(x).real)"],
)
def test_a_network_onnx_cannot_express_is_refused(tmp_path, forward):
    request = asked(tmp_path, network(forward))
    fitted = fit(request, part(), part(seed=1), ALONE)
    model = family_of(request.family).load(request, fitted.weights)
    with pytest.raises(TrainingError, match="cannot be written as ONNX") as raised:
        model.export(tmp_path / "model.onnx")
    assert re.search(r"opset \d+", raised.value.next_step)
    assert not (tmp_path / "model.onnx").exists()


def test_one_file_builds_alike_twice(tmp_path):
    request = asked(tmp_path, LINEAR)
    one, two = (fit(request, part(), part(seed=1), ALONE) for _ in range(2))
    assert one == replace(two, weights=one.weights)
    assert all((one.weights[name] == two.weights[name]).all() for name in one.weights)
