"""The table of objectives, apart from their code: recipes are read and mixtures made without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Entry:
    """Where an objective lives and which kind of network it trains."""

    target: str
    family: Literal["causal", "seq2seq", "masked"]


OBJECTIVES = {
    "causal": Entry("trainers.objectives.causal:Causal", "causal"),
    "seq2seq": Entry("trainers.objectives.seq2seq:Seq2Seq", "seq2seq"),
    "masked": Entry("trainers.objectives.masked:Masked", "masked"),
    "diffusion": Entry("trainers.objectives.diffusion:Diffusion", "masked"),
}
