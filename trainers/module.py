"""A network and its objective as one torch module: what data-parallel wrappers see, and what they must keep together."""

from __future__ import annotations

import os

import torch
from torch import nn

from trainers.objectives import Objective, divided


class ObjectiveModule(nn.Module):
    """A network and its objective as one forward: rows and the whole step's weights in, their part of the loss out."""

    def __init__(self, network, objective: Objective, parameters: nn.Module):
        super().__init__()
        self.trained = parameters
        self._network, self._objective = (network,), (objective,)  # tuples: not registered twice
        self._no_split_modules = block_classes(parameters)  # what accelerate shards on its own

    def get_input_embeddings(self) -> nn.Module | None:
        """The token embeddings, which FSDP2 shards apart, where it can (else None)."""
        return self._embeddings("get_input_embeddings")

    def get_output_embeddings(self) -> nn.Module | None:
        """The vocabulary projection, which FSDP2 shards apart, where it can, and with the embeddings if it is theirs."""
        return self._embeddings("get_output_embeddings")

    def _embeddings(self, which: str) -> nn.Module | None:
        whole = os.environ.get("ACCELERATE_USE_FSDP") == "true" and shares_beyond_embeddings(self.trained)
        return None if whole or not hasattr(self.trained, which) else getattr(self.trained, which)()

    def forward(self, batch: dict[str, torch.Tensor], weights_K: torch.Tensor) -> torch.Tensor:
        """Σ_k loss_sum_k / weight_k."""
        return divided(self._objective[0].loss_sums(self._network[0], batch), weights_K)


def block_classes(network: nn.Module) -> list[str]:
    """Names of a network's block classes, as transformers lists them, without those that hold the token embeddings.

    Embeddings stay with the rest of the network, where the output projection is that may share their weights.
    """
    listed, embeddings = set(getattr(network, "_no_split_modules", None) or ()), None
    if listed:
        embeddings = network.get_input_embeddings()  # type: ignore[operator]
    blocks = [module for module in network.modules() if type(module).__name__ in listed]
    holding = {type(block).__name__ for block in blocks if any(part is embeddings for part in block.modules())}
    return sorted({type(block).__name__ for block in blocks} - holding)


def shares_beyond_embeddings(network: nn.Module) -> bool:
    """Whether modules share weights that are not both embeddings and output projection (T5's three embeddings, XLM-R's bias).

    FSDP2 cannot shard such modules apart from one another (torch: "shared with a parameter already managed"): they stay
    with the root.
    """
    apart = [getattr(network, f"get_{side}_embeddings", lambda: None)() for side in ("input", "output")]
    holders: dict[int, list[nn.Module]] = {}
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            holders.setdefault(id(parameter), []).append(module)
    shared = [module for modules in holders.values() if len(modules) > 1 for module in modules]
    return any(all(module is not one for one in apart) for module in shared)
