"""How many rows `ar` and `encdec` take at a time on a CPU under `--batch_size auto`.

lm-eval tries 64 rows of the network's full length, all positions projected to the vocabulary, and halves while memory runs
out. A GPU says so; on a CPU the process is killed first, or the machine stands still: a BLOOM of any size asks for 131 GB of
logits. So there the number is reckoned, from what the rows at hand take.
"""

from __future__ import annotations

from typing import Any

BUDGET = 2**30  # bytes of all rows of a batch, beside the weights
FLOAT = 4
LIVE = 24  # activations of one layer that live together, in widths of the network: query to value, 4 + 4 in the MLP, residuals
COPIES = 3  # logits as they come, normalised, and on their way


def rows_within(config: Any, tokens: int, scored: int, most: int, budget: int = BUDGET) -> int:
    """The largest number of rows, 1 to `most`, that stays within `budget` bytes; see `row_bytes`."""
    return max(1, min(most, budget // row_bytes(config, tokens, scored)))


def row_bytes(config: Any, tokens: int, scored: int) -> int:
    """About the bytes that a row of so many tokens takes in a forward pass, `scored` of them projected to the vocabulary.

    Activations of a layer, keys and values of all, the attention's scores (as if no kernel saved them) twice, logits.
    """
    width, layers, heads = config.hidden_size, config.num_hidden_layers, config.num_attention_heads
    activations = tokens * width * (LIVE + 2 * layers)
    return FLOAT * (activations + 2 * heads * tokens**2 + COPIES * scored * config.vocab_size)
