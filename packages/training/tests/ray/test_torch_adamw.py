"""The light optimiser against torch's own."""

import subprocess
import sys

import torch
from torch import nn

from agentloop.training.torch_adamw import FusedAdamW, adamw


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2))


def walk(model, optimizer, steps, start=0):
    for step in range(start, start + steps):
        torch.manual_seed(step)
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 / (step + 1)
        optimizer.zero_grad()
        model(torch.randn(9, 5)).square().sum().backward()
        optimizer.step()
    return [weight.detach().clone() for weight in model.parameters()]


def same(left, right):
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_it_is_torchs_adamw_bit_for_bit():
    ours, theirs = network(), network()
    reference = torch.optim.AdamW(theirs.parameters(), lr=1e-2, weight_decay=0.1, fused=True)
    light = adamw(ours.parameters(), 1e-2, 0.1)
    assert isinstance(light, FusedAdamW)
    assert same(walk(ours, light, 20), walk(theirs, reference, 20))


def test_it_goes_on_from_a_state_as_if_it_had_not_stopped():
    whole, cut = network(), network()
    expected = walk(whole, adamw(whole.parameters(), 1e-2, 0.1), 10)
    first = adamw(cut.parameters(), 1e-2, 0.1)
    walk(cut, first, 4)
    second = adamw(cut.parameters(), 1e-2, 0.1)
    second.load_state_dict(first.state_dict())
    assert same(walk(cut, second, 6, start=4), expected)


def test_a_weight_without_a_gradient_stays():
    model = network()
    before = model[2].weight.detach().clone()
    optimizer = adamw(model.parameters(), 1e-2, 0.1)
    model[0](torch.ones(3, 5)).sum().backward()
    optimizer.step()
    assert torch.equal(model[2].weight, before)


def test_other_types_go_to_torchs_own():
    model = network().double()
    optimizer = adamw(model.parameters(), 1e-2, 0.1)
    assert isinstance(optimizer, torch.optim.AdamW)


def test_torchs_compiler_is_not_imported():
    code = (
        "import sys, torch\n"
        "from agentloop.training.torch_adamw import adamw\n"
        "model = torch.nn.Linear(3, 2)\n"
        "optimizer = adamw(model.parameters(), 1e-2, 0.1)\n"
        "for _ in range(2):\n"
        "    optimizer.zero_grad()\n"
        "    model(torch.ones(1, 3)).sum().backward()\n"
        "    optimizer.step()\n"
        "sys.exit('torch._dynamo' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
