"""`--model diffusion_xlmr`: masked-diffusion language models (DiffusionLLM, MDLM- and LLaDA-style masked LMs)."""

from __future__ import annotations

from dataclasses import dataclass

from harness.adapters.masked_lm import MaskedLM
from harness.adapters.settings import MaskedSettings


@dataclass(frozen=True)
class DiffusionSettings(MaskedSettings):
    """DiffusionLLM's defaults: reparameterized decoding, cosine schedule, unconditional re-masking, 10 passes."""

    decoder: str = "reparameterized"


class DiffusionXlmr(MaskedLM):
    """Any `*ForMaskedLM` checkpoint trained with an absorbing-diffusion objective."""

    adapter = "diffusion_xlmr"
    defaults = DiffusionSettings()
