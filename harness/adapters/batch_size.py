"""How many rows `ar` and `encdec` take at a time on a CPU under `--batch_size auto`.

lm-eval tries 64 rows of the network's full length, all positions projected to the vocabulary, and halves while memory runs
out. A GPU says so; on a CPU the process is killed first, or the machine stands still: a BLOOM of any size asks for 131 GB of
logits. So there the number is reckoned, from what the rows at hand take.
"""

from __future__ import annotations

from typing import Any, NamedTuple

BUDGET = 2**30  # bytes of all rows of a batch, about, beside the weights
FLOAT = 4
LIVE = 24  # activations of one layer that live together, in widths of the network: query to value, 4 + 4 in the MLP, residuals
COPIES = 2  # logits as they come, and on their way


class Extent(NamedTuple):
    """What a row needs: its tokens, how many of them are projected to the vocabulary, and its beams."""

    tokens: int
    scored: int
    beams: int = 1


def rows_within(config: Any, extent: Extent, most: int, budget: int = BUDGET) -> int:
    """The largest number of rows, 1 to `most`, that stays within `budget` bytes; one where the shape is not told."""
    one = row_bytes(config, extent)
    return 1 if one is None else max(1, min(most // extent.beams, budget // one))


def row_bytes(config: Any, extent: Extent) -> int | None:
    """About the bytes that a row takes in a forward pass; None for a configuration that has no width or no layers.

    Activations of a layer, keys and values of all, the attention's scores (as if no kernel saved them) twice, logits.
    """
    own = config.get_text_config(decoder=True)
    width, layers = (getattr(own, name, None) for name in ("hidden_size", "num_hidden_layers"))
    if not isinstance(width, int) or not isinstance(layers, int):
        return None
    heads = _heads(own)
    activations = extent.tokens * width * (LIVE + 2 * layers)
    logits = COPIES * min(extent.scored, extent.tokens) * own.vocab_size
    return extent.beams * FLOAT * (activations + 2 * heads * extent.tokens**2 + logits)


def _heads(config: Any) -> int:
    """Attention heads of a layer; the most where layers differ, none for a network without attention."""
    try:
        heads = config.num_attention_heads
    except (AttributeError, RuntimeError, ValueError):
        return 0
    return max(heads) if isinstance(heads, (list, tuple)) else int(heads or 0)
