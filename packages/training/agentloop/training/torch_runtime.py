"""How torch is run: seeds, threads, precision and the learning rate of a step."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from agentloop.training.processors import usable_cpus

# Small layers lose more to handing work over than a second thread gains.
WIDE_FAMILIES = ("cnn",)
WARM_UP, LAST_SHARE = 0.05, 0.01


def threads_for(family: str, allowed: int) -> int:
    """Threads of one fit; ``allowed`` is 0 for half of the processors.

    Threads wait for each other some hundred times a step, spinning: where one of them has lost its
    processor to another process, two take ten times as long as one.
    """
    if family not in WIDE_FAMILIES:
        return 1
    return allowed or max(1, usable_cpus() // 2)


def learning_rate(peak: float, step: int, steps: int) -> float:
    """Of a step, from 0: up to ``peak`` in the first ``WARM_UP`` of all steps, then down to
    ``LAST_SHARE`` of it along a cosine (Loshchilov & Hutter 2017, arXiv 1608.03983, eq. 5)."""
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return peak * (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    return peak * (LAST_SHARE + (1 - LAST_SHARE) * (1 + math.cos(math.pi * done)) / 2)


class Precision:
    """Mixed precision: ``auto`` is bfloat16 on a GPU and float32 on a CPU."""

    def __init__(self, wanted: str, device: str) -> None:
        auto = "bfloat16" if device == "cuda" else "float32"
        name = auto if wanted == "auto" else wanted
        self._device = device
        self._type = None if name == "float32" else getattr(torch, name)
        # Only float16 has so few exponents that small gradients vanish.
        self._scaler = torch.amp.GradScaler(device) if name == "float16" else None

    def autocast(self) -> AbstractContextManager[Any]:
        if self._type is None:
            return nullcontext()
        cast: AbstractContextManager[Any] = torch.autocast(self._device, self._type)
        return cast

    def backward(self, loss: Any) -> None:
        (self._scaler.scale(loss) if self._scaler else loss).backward()

    def step(self, optimizer: Any) -> None:
        if self._scaler is None:
            optimizer.step()
            return
        self._scaler.step(optimizer)
        self._scaler.update()

    def state(self) -> dict[str, Any]:
        return self._scaler.state_dict() if self._scaler else {}

    def load(self, state: dict[str, Any]) -> None:
        # It is empty where a checkpoint was written without a scaler.
        if self._scaler is not None and state:
            self._scaler.load_state_dict(state)


@contextmanager
def deterministic(seed: int, threads: int) -> Iterator[None]:
    """So many threads, seeded, deterministic kernels; the process's own settings come back
    after."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.get_num_threads()
    mode = torch.get_deterministic_debug_mode()
    memory = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        # Not use_deterministic_algorithms: that imports torch's compiler, for a second and more.
        torch.set_deterministic_debug_mode("error")
        # No layer reads memory before it writes it, and the filling takes a fifth of the time.
        memory.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.set_num_threads(before)
            torch.set_deterministic_debug_mode(mode)
            memory.fill_uninitialized_memory = filled
