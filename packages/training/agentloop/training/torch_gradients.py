"""Average the gradients of a network over the processes that train it, on CPUs.

``DistributedDataParallel`` imports torch's compiler, two seconds in every worker, and sends its
buckets while the backward pass is still running, which pays where a GPU computes and a processor
sends. Here both are the same processor: one message after the pass is as fast.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from agentloop.contracts.errors import TrainingError


def can_average(model: nn.Module) -> bool:
    """Whether a plain average is enough: on CPUs, all weights trained, and no buffers, which
    DistributedDataParallel would keep the same in every process."""
    weights = list(model.parameters())
    return (
        bool(weights)
        and all(weight.requires_grad and not weight.is_cuda for weight in weights)
        and not any(True for _ in model.buffers())
    )


class MeanGradients(nn.Module):
    """``model``, whose gradients are averaged over all processes when the last has come.

    All processes start from the weights of the first. Raises TrainingError in the next pass when
    some weights got no gradient, for these would go their own way in every process.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.module = model
        self._weights = list(model.parameters())
        self._arrived, self._averages = 0, True
        for weight in self._weights:
            dist.broadcast(weight.data, 0)
            weight.register_post_accumulate_grad_hook(self._has_come)

    def forward(self, *arguments: Any) -> Any:
        if self._arrived:
            missing = len(self._weights) - self._arrived
            raise TrainingError(f"{missing} of the model's weights get no gradient")
        return self.module(*arguments)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Add up gradients in each process; the first pass outside averages them."""
        self._averages = False
        try:
            yield
        finally:
            self._averages = True

    def _has_come(self, weight: torch.Tensor) -> None:
        self._arrived += 1
        if self._arrived < len(self._weights):
            return
        self._arrived = 0
        if self._averages:
            self._average()

    def _average(self) -> None:
        gradients = [weight.grad for weight in self._weights if weight.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
