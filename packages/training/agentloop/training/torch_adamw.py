"""AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) by torch's fused kernel, called directly.

``torch.optim`` imports torch's compiler when its first optimiser is made: one to two seconds in
every process that trains, longer than many a fit. The kernel and its numbers are the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

BETAS, EPSILON = (0.9, 0.999), 1e-8


def adamw(weights: Iterable[nn.Parameter], rate: float, decay: float) -> Any:
    """An optimiser for ``weights``: the light one where it can be used, else torch's own."""
    listed = list(weights)
    light = all(weight.dtype == torch.float32 and not weight.is_cuda for weight in listed)
    if listed and light:  # without weights torch's own says what is wrong
        return FusedAdamW(listed, rate, decay)
    fused = all(weight.dtype == torch.float32 for weight in listed)
    return torch.optim.AdamW(listed, lr=rate, weight_decay=decay, fused=fused)


class FusedAdamW:
    """``torch.optim.AdamW(fused=True)`` for float32 weights on CPUs, bit for bit.

    ``param_groups`` holds the one group's ``lr``, as torch's schedules expect it.
    """

    def __init__(self, weights: list[nn.Parameter], rate: float, decay: float) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": weights, "lr": rate}]
        self._weights, self._decay = weights, decay
        self._state: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}

    def zero_grad(self, set_to_none: bool = True) -> None:
        for weight in self._weights:
            weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        moved = [(i, weight) for i, weight in enumerate(self._weights) if weight.grad is not None]
        if not moved:
            return
        for number, weight in moved:
            if number not in self._state:
                zeros = torch.zeros_like(weight, memory_format=torch.preserve_format)
                self._state[number] = torch.zeros(()), zeros, zeros.clone()
        steps, means, squares = (
            list(column) for column in zip(*(self._state[i] for i, _ in moved), strict=True)
        )
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            [weight for _, weight in moved],
            [weight.grad for _, weight in moved],
            means,
            squares,
            [],
            steps,
            lr=self.param_groups[0]["lr"],
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=self._decay,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """Tensors by the position of their weight, in the form of torch's own."""
        names = ("step", "exp_avg", "exp_avg_sq")
        return {
            "state": {i: dict(zip(names, kept, strict=True)) for i, kept in self._state.items()},
            "param_groups": [{"lr": self.param_groups[0]["lr"]}],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._state = {
            int(i): (kept["step"].clone(), kept["exp_avg"].clone(), kept["exp_avg_sq"].clone())
            for i, kept in state["state"].items()
        }
        self.param_groups[0]["lr"] = state["param_groups"][0]["lr"]
