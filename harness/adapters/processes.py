"""An lm-eval model among several processes (accelerate launch, torchrun): who it is and how results are gathered."""

from __future__ import annotations

import os
from typing import Any

import lm_eval.models  # noqa: F401  registering a model before the built-ins are imported would hide them all
import torch
from lm_eval.api.model import LM


class DataParallelLM(LM):
    """Rank, world size and gathering; lm-eval gives every process its own share of the requests.

    It inherits `LM`, not `TemplateLM`, which drops the request's task and document.
    """

    def __init__(self, device: torch.device):
        super().__init__()
        self._device, self.accelerator = device, _accelerator()
        if self.accelerator is not None:
            self._rank, self._world_size = self.accelerator.process_index, self.accelerator.num_processes

    @property
    def device(self) -> torch.device:
        """Where requests are computed."""
        return self._device

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor of every process, concatenated."""
        gathered: Any = tensor if self.accelerator is None else self.accelerator.gather(tensor)
        return gathered

    def gather_object(self, obj, dst: int = 0):
        """A list of every process's object on process `dst`, None elsewhere."""
        if self.accelerator is None:
            return [obj]
        gathered = [None] * self.world_size if self.rank == dst else None
        torch.distributed.gather_object(obj=obj, object_gather_list=gathered, dst=dst)
        return gathered

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()


def _accelerator():
    """accelerate's state when several processes were launched, else None."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    from accelerate import Accelerator

    return Accelerator(cpu=not torch.cuda.is_available())
