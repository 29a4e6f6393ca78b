"""Whether a training is still sound: every number finite, in every process, so that all of them stop together or none."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor


def everywhere(sound: torch.Tensor) -> bool:
    """Whether a boolean scalar is true in every process (a collective call)."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        sound = sound.int()
        dist.all_reduce(sound, dist.ReduceOp.MIN)
    return bool(sound)


@torch.no_grad()
def finite_weights(module: torch.nn.Module) -> bool:
    """Whether all trained weights are finite, each process looking at its own part (a collective call).

    An infinite gradient beside a finite loss leaves weights that are none: clipping multiplies it by 0.
    """
    found = [torch.isfinite(_own_part(weight)).all() for weight in module.parameters() if weight.requires_grad]
    return everywhere(torch.stack(found).all())


def _own_part(weight: torch.nn.Parameter) -> torch.Tensor:
    """What this process holds of a weight: FSDP2 and DeepSpeed's ZeRO-3 leave each a piece."""
    if isinstance(weight, DTensor):
        return weight.to_local()
    return getattr(weight, "ds_tensor", weight)
