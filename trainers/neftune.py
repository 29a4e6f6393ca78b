"""NEFTune (Jain et al. 2023, arXiv 2310.05914, Algorithm 1): uniform noise of ± α / √(L·d) on the input embeddings in training.

As in the authors' code L is the row's width, padding (packed: its other examples) included, and d the embeddings' width.
The Trainer's own switch hooks the one module that `get_input_embeddings` names. In T5, whose encoder and decoder have a
module each over the same weights, nothing is read through it and no noise added; a sharded network may name none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def neftune(network: Any, alpha: float | None) -> Iterator[None]:
    """Noise, while `network` trains, on every module that reads its token embeddings; none where `alpha` is None."""
    from transformers.integrations.neftune import neftune_post_forward_hook

    modules, hooks = readers(network) if alpha is not None else [], []
    for module in modules:
        module.neftune_noise_alpha = alpha  # type: ignore[assignment]
        hooks.append(module.register_forward_hook(neftune_post_forward_hook))
    try:
        yield
    finally:
        for module, hook in zip(modules, hooks, strict=True):
            hook.remove()
            del module.neftune_noise_alpha


def readers(network: Any) -> list[nn.Embedding]:
    """The embedding modules that hold the token embeddings' weights."""
    weight = network.get_input_embeddings().weight
    return [part for part in network.modules() if isinstance(part, nn.Embedding) and part.weight is weight]
