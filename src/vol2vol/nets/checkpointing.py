"""Save memory in training by recomputing activations, without counting statistics of normalisation twice."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils.checkpoint import checkpoint

from vol2vol.nets.norm import keeping, recomputing


def checkpointed(step: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Run `step`, discard its activations and recompute them for the gradient.

    The second run does not update the running statistics of `Norm`, so a training step ends in the same state as
    without checkpointing. Without gradients, and while a network is traced, `step` is called as usual. A step must not
    change its inputs in place.
    """
    if not torch.is_grad_enabled() or any(isinstance(x, fx.Proxy) for x in inputs):
        return step(*inputs)
    output: Tensor = checkpoint(step, *inputs, use_reentrant=False, context_fn=_contexts)
    return output


def _contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    kept: dict[nn.Module, Any] = {}
    return keeping(kept), recomputing(kept)
