"""Memory of a training step whose vocabulary projection runs at loss positions only, against projecting every position.

Counted in bytes allocated during a forward and a backward pass, above the weights and gradients, on a network with random
weights: the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from trainers.compared import Compared, paired
from trainers.encode import Example
from trainers.objectives import divided
from trainers.objectives.causal import Causal
from trainers.training_speed import decoder


def logits_memory(
    vocabulary: int = 250_002, width: int = 64, tokens: int = 512, rows: int = 2, share: float = 0.15
) -> Compared:
    """Peak bytes of forward and backward with the projection at `share` of the positions ÷ at all of them."""
    network = decoder(vocabulary, width, 1)
    size = int(tokens * share)
    data = [
        Example(tuple([9] * (tokens - size)), tuple([11] * (size - 1)), (1,) * (tokens - size)) for _ in range(rows)
    ]
    objective = Causal(pad=1, eos=2)
    batch = objective.collate(data)

    def some() -> torch.Tensor:
        return divided(objective.loss_sums(network, batch), objective.weights(batch))

    def everywhere() -> torch.Tensor:
        labels = batch["tokens_BT"].masked_fill(batch["weight_BT"] == 0, -100)
        return network(input_ids=batch["tokens_BT"], attention_mask=batch["attend_BT"], labels=labels).loss

    peaks = [_peak(step, network) for step in (some, everywhere)]
    note = f"{rows} × {tokens} tokens, {share:.0%} with loss, vocabulary {vocabulary}, width {width}"
    what = "peak memory above the weights, loss positions ÷ every position"
    return paired(what, "bytes", "ratio", peaks[:1], peaks[1:], note)


def _peak(step: Callable[[], torch.Tensor], network) -> float:
    """Most bytes allocated at a time during a forward and backward pass, above what was there before."""
    from torch.profiler import ProfilerActivity, profile

    network.zero_grad(set_to_none=False)
    step().backward()  # gradients exist from here on
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step().backward()
    live = peak = 0
    for event in profiled.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            live += event.nbytes()  # type: ignore[attr-defined]
            peak = max(peak, live)
    return float(peak)
