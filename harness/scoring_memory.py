"""Peak memory of scoring with a large vocabulary, ours against projecting every position; each in its own process.

A random network is enough: what counts is vocabulary × positions. An accelerator reports its own peak; on a processor
it is the growth of the process's peak resident memory while it scores.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

WIDTH = 64
TARGET = 16  # tokens of the target; the rest of the row is prompt


def measure(vocabulary: int, tokens: int, rows: int) -> dict[str, float]:
    """Peak MiB of `rows` rows of `tokens` tokens: ours, every position (scaled up from fewer rows where memory is short)."""
    fitting = rows
    while fitting > 1 and fitting * tokens * vocabulary * 4 > _room():
        fitting //= 2
    ours, all_ = (_in_own_process(how, vocabulary, tokens, n) for how, n in (("ours", rows), ("every", fitting)))
    every = all_ * rows / fitting
    return {
        "vocabulary": vocabulary,
        "tokens": tokens,
        "rows": rows,
        "ours_mib": round(ours, 1),
        "every_position_mib": round(every, 1),
        "every_position_rows_measured": fitting,
        "ratio": round(every / ours, 1),
    }


def _in_own_process(how: str, *shape: int) -> float:
    command = [sys.executable, "-m", "harness.scoring_memory", how, *map(str, shape)]
    return float(
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    )


def _room() -> float:
    """Bytes that the logits of every position may take here: what an accelerator has, two GiB on a processor (time)."""
    import torch

    return float(torch.cuda.mem_get_info()[0]) / 2 if torch.cuda.is_available() else 2.2 * 2**30


def peak_mib(how: str, vocabulary: int, tokens: int, rows: int) -> float:
    """Growth of peak memory while `rows` rows are scored `how`: ours | every (logits of every position, nothing more)."""
    import numpy as np
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

    from harness.backbones import MaskedBackbone
    from harness.canvas import SpecialIds
    from harness.rows import RowEngine
    from harness.scorers import Item, rows_of

    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = XLMRobertaConfig(
        vocab_size=vocabulary, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, intermediate_size=4 * WIDTH,
        max_position_embeddings=tokens + 2, type_vocab_size=1,
    )  # fmt: skip
    model: Any = XLMRobertaForMaskedLM(config)
    model.to(device).eval()
    backbone = MaskedBackbone(model, SpecialIds(bos=0, eos=2, pad=1, mask=vocabulary - 1), max_length=tokens)
    rng = np.random.default_rng(0)
    ids = rng.integers(5, vocabulary - 1, tokens - 2)
    item = Item(tuple(ids[:-TARGET].tolist()), tuple(ids[-TARGET:].tolist()))
    hidden_NL = np.tril(np.ones((TARGET, TARGET), bool)).repeat(-(-rows // TARGET), 0)[:rows]
    hidden_NL = hidden_NL[:, rng.permutation(TARGET)]
    hidden_NL[::2] = hidden_NL[::2, ::-1]
    engine = RowEngine(backbone)
    engine.tokens_per_pass = rows * tokens  # all rows at once, on a processor, too
    before = _reset(device)
    if how == "ours":
        engine.run([rows_of(item, hidden_NL)])
    else:
        canvas = backbone.layout.pack([(item.prompt, item.target)] * rows, backbone.ids).to(device)
        with torch.inference_mode():
            backbone.logits_at(backbone.hidden(canvas), canvas.attend_BT)
    return _peak(device) - before


def _reset(device: str) -> float:
    import torch

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")
    return _peak(device)


def _peak(device: str) -> float:
    import resource

    import torch

    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    print(json.dumps(peak_mib(sys.argv[1], *map(int, sys.argv[2:]))))
