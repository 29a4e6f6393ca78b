"""Sliding windows of a network under a given attention mask.

transformers takes a mask of four dimensions as it is in every layer, so the windows of layers that have them would be
lost without a word. ModernBERT takes a mask for each kind of its layers, and gets them here; other families are refused.
Shapes: B rows, T tokens.
"""

from __future__ import annotations

from typing import Any

import torch

BY_KIND = {"modernbert"}  # families whose forward takes {kind of layer: mask}


def lost_windows(config: Any) -> str:
    """What is wrong with giving a network of this configuration a mask of ours, or "" where it loses no window."""
    kinds = sorted(set(getattr(config, "layer_types", None) or ()))
    windows = [kind for kind in kinds if "sliding" in kind or "chunked" in kind]
    if not kinds and getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
        windows = [f"sliding_window {config.sliding_window}"]  # in every layer (Mistral)
    if not windows or config.model_type in BY_KIND:
        return ""
    return (
        f"{config.model_type} has layers with sliding windows ({', '.join(windows)}), which a given mask would replace"
    )


def masks_by_kind(config: Any, allowed_BTT: torch.Tensor) -> dict[str, torch.Tensor] | None:
    """A boolean mask [B, query, key] for each kind of the network's layers, or None where one mask serves all.

    Distances are those in the row, as in transformers: up to `sliding_window` tokens to either side, that one included.
    Padding sees itself: a softmax over nothing would be no number.
    """
    if config.model_type not in BY_KIND:
        return None
    index_T = torch.arange(allowed_BTT.shape[1], device=allowed_BTT.device)
    distance_TT = (index_T.unsqueeze(1) - index_T).abs()
    near_BTT = allowed_BTT & (distance_TT <= config.sliding_window) | (distance_TT == 0)
    return {"full_attention": allowed_BTT, "sliding_attention": near_BTT}
