"""Packed rows: several examples share one row, and each sees itself alone (block-diagonal causal attention).

As in xMTF's training (facts A5): examples fill rows greedily in order, none is cut. Positions restart with every
example; BLOOM has none, and its ALiBi biases, which depend on distances alone, may run on through the row. The mask is
given whole, but to flash attention, which finds the examples' edges by the restarting positions.
Shapes: B rows, T tokens, P packed rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch


def fill(order: Iterable[int], lengths: Sequence[int], room: int) -> list[list[int]]:
    """Indices in their order, as rows of at most `room` tokens; an example longer than a row is left out."""
    rows: list[list[int]] = []
    free = 0
    for index in order:
        length = int(lengths[index])
        if length > room:
            continue
        if length > free:
            rows.append([])
            free = room
        rows[-1].append(index)
        free -= length
    return rows


def segments(batch: dict[str, torch.Tensor], sizes: Sequence[int], pad: int) -> dict[str, torch.Tensor]:
    """A batch of one example a row as packed rows of `sizes` examples each, with segment_BT and positions_BT."""
    real_BT = batch["attend_BT"].bool()
    length_B = real_BT.sum(1)
    row_B = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    total_P = torch.zeros(len(sizes), dtype=torch.long).index_add_(0, row_B, length_B)
    shape = (len(sizes), int(total_P.max()))
    filled_PT = torch.arange(shape[1]) < total_P.unsqueeze(1)
    number = torch.cat([torch.arange(1, size + 1) for size in sizes]).unsqueeze(1).expand(real_BT.shape)
    place = torch.arange(real_BT.shape[1]).expand(real_BT.shape)

    def packed(values_BT: torch.Tensor, empty: float) -> torch.Tensor:
        out_PT = torch.full(shape, empty, dtype=values_BT.dtype)
        out_PT[filled_PT] = values_BT[real_BT]
        return out_PT

    return {
        "tokens_BT": packed(batch["tokens_BT"], pad),
        "attend_BT": filled_PT.long(),
        "weight_BT": packed(batch["weight_BT"], 0.0),
        "segment_BT": packed(number, 0),
        "positions_BT": packed(place, 0),
    }


def decoder_states(network, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Final hidden states [B, T, D] of a decoder, for rows of one example or packed ones."""
    arguments = {"input_ids": batch["tokens_BT"], "attention_mask": batch["attend_BT"], "use_cache": False}
    if "segment_BT" in batch:
        flash = "flash" in str(network.config._attn_implementation)
        arguments["attention_mask"] = None if flash else _additive_mask(batch["segment_BT"], network.dtype)
        if network.config.model_type == "bloom":
            network.base_model.build_alibi_tensor = _running_alibi
        else:
            arguments["position_ids"] = batch["positions_BT"]
    return network.base_model(**arguments)[0]


def _additive_mask(segment_BT: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """[B, 1, T, T]: 0 where a query may see a key (its own segment, not later), the smallest number elsewhere."""
    same_BTT = segment_BT.unsqueeze(2) == segment_BT.unsqueeze(1)
    seen_BTT = same_BTT & torch.ones_like(same_BTT).tril()
    return torch.zeros_like(seen_BTT, dtype=dtype).masked_fill(~seen_BTT, torch.finfo(dtype).min).unsqueeze(1)


def _running_alibi(attention_mask: torch.Tensor, num_heads: int, dtype: torch.dtype) -> torch.Tensor:
    """BLOOM's biases [B·heads, 1, T] for masks of two or four dimensions."""
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    ones = attention_mask if attention_mask.dim() == 2 else torch.ones_like(attention_mask[:, 0, 0], dtype=torch.long)
    return build_alibi_tensor(ones, num_heads, dtype)
