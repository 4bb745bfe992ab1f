"""Averaged gradients, in two processes that share no cluster."""

import socket

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing, nn

from agentloop.contracts import TrainingError
from agentloop.training.torch_gradients import MeanGradients, can_average

WORLD = 2


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def rows():
    torch.manual_seed(9)
    return torch.randn(8, 4)


def in_process(rank, port, task, kept):
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=WORLD
    )
    try:
        kept[rank] = task(rank)
    finally:
        dist.destroy_process_group()


def in_two_processes(task):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with multiprocessing.Manager() as manager:
        kept = manager.dict()
        multiprocessing.spawn(in_process, (port, task, kept), nprocs=WORLD)
        return [kept[rank] for rank in range(WORLD)]


def gradients(model):
    return [weight.grad.clone() for weight in model.parameters()]


def one_pass(rank):
    torch.set_num_threads(1)
    model = MeanGradients(network(seed=rank))  # the second begins elsewhere
    model(rows()[rank::WORLD]).square().mean().backward()
    return [tensor.tolist() for tensor in gradients(model.module)]


def two_pieces(rank):
    torch.set_num_threads(1)
    model = MeanGradients(network())
    mine = rows()[rank::WORLD]
    with model.no_sync():
        (model(mine[:2]).square().mean() / 2).backward()
    (model(mine[2:]).square().mean() / 2).backward()
    return [tensor.tolist() for tensor in gradients(model.module)]


@pytest.mark.parametrize("task", [one_pass, two_pieces])
def test_every_process_has_the_gradient_of_all_rows(task):
    whole = network()
    whole(rows()).square().mean().backward()
    first, second = in_two_processes(task)
    assert first == second
    for found, expected in zip(first, gradients(whole), strict=True):
        assert torch.allclose(torch.tensor(found), expected, atol=1e-6)


def idle_weight(rank):
    model = MeanGradients(network())
    model.module[0](rows()).sum().backward()
    with pytest.raises(TrainingError, match="2 of the model's weights get no gradient"):
        model(rows())
    return True


def test_a_weight_without_a_gradient_is_an_error():
    assert in_two_processes(idle_weight) == [True, True]


def test_what_keeps_buffers_is_left_to_torch():
    assert can_average(network())
    assert not can_average(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    frozen = network()
    frozen[0].weight.requires_grad_(False)
    assert not can_average(frozen)
