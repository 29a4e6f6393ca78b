"""`--model ar` and `--model encdec`: lm-eval's own HFLM with our defaults and records; every score is exact."""

from __future__ import annotations

from typing import Any

import lm_eval.models  # noqa: F401  registering a model before the built-ins are imported would hide them all
from lm_eval.models import huggingface

from harness.adapters.base import Tally, newest_checkpoint, usable_device, weights_sha256
from harness.backbones import BackboneError, checkpoint_record, explained

UNIMPORTANT = {"device", "batch_size", "max_batch_size"}
HFLM: Any = huggingface.HFLM  # its registration decorator hides its type from checkers


class Autoregressive(HFLM):
    """A decoder-only causal LM, scored and decoded as `--model hf` does it, safetensors only."""

    adapter = "ar"
    backend_name = "causal"

    def __init__(self, pretrained: str | None = None, **arguments):
        name = pretrained or str(newest_checkpoint(self.adapter))
        if pretrained is None:
            print(f"{self.adapter}: no pretrained= given, using the newest local checkpoint {name}")
        self.record = checkpoint_record(name)
        self._require_class(name, arguments)
        arguments.setdefault("dtype", "float32")
        arguments.setdefault("use_safetensors", True)
        arguments["device"] = usable_device(arguments.get("device"))
        with explained(name):
            super().__init__(pretrained=name, backend=self.backend_name, **arguments)
        self.pretrained, self.tally = name, Tally()
        self.weights_sha256 = weights_sha256(name, self.record)
        self.arguments = {key: str(value) for key, value in arguments.items() if key not in UNIMPORTANT}

    def _require_class(self, name: str, arguments: dict) -> None:
        """BackboneError when the checkpoint is of another paradigm than this adapter scores."""
        from transformers import AutoConfig

        with explained(name):
            config = AutoConfig.from_pretrained(
                name,
                revision=arguments.get("revision", "main"),
                trust_remote_code=bool(arguments.get("trust_remote_code", False)),
            )
        architecture = (config.architectures or [""])[0]
        masked, seq2seq = architecture.endswith("ForMaskedLM"), bool(config.is_encoder_decoder)
        if masked or seq2seq != (self.backend_name == "seq2seq"):
            right = "nar_xlmr or diffusion_xlmr" if masked else "encdec" if seq2seq else "ar"
            raise BackboneError(
                f"'{name}' is a {architecture or config.model_type}: use --model {right}, not {self.adapter}."
            )

    def identity(self) -> dict:
        """What beside the weights can change a number: the arguments as given."""
        return dict(sorted(self.arguments.items()))

    def configure(self, **changes) -> None:
        """No settings: greedy decoding with the KV cache, and the exact likelihood."""
        if changes:
            raise ValueError(f"--model {self.adapter} has no setting '{next(iter(changes))}'.")

    def _loglikelihood_tokens(self, requests, disable_tqdm: bool = False, override_bs: int | None = None):
        """HFLM's scores, counted; the context is cut from the left where it does not fit."""
        for pair, context_ids, target_ids in requests:  # pair is None for a window of a rolling text
            if not target_ids:
                raise BackboneError(f"the continuation in {pair} is empty; give every choice a text.")
            length = len(context_ids) + (0 if self.backend == "seq2seq" else len(target_ids) - 1)
            self.tally.truncated += length > self.max_length
        scored = super()._loglikelihood_tokens(requests, disable_tqdm=disable_tqdm, override_bs=override_bs)
        self.tally.scored += len(scored)
        self.tally.rows += len(scored)
        self.tally.weaken("exact")
        return scored

    def generate_until(self, requests, disable_tqdm: bool = False):
        """HFLM's greedy answers, counted."""
        answers = super().generate_until(requests, disable_tqdm=disable_tqdm)
        self.tally.scored += len(answers)
        return answers

    def get_model_info(self) -> dict:
        """What lm-eval writes into its results beside the model's name."""
        return {
            **super().get_model_info(),
            "adapter": self.adapter,
            "checkpoint": self.pretrained,
            "checkpoint_sha256": self.weights_sha256,
            "checkpoint_recipe": self.record.recipe if self.record else None,
            "checkpoint_seed": self.record.seed if self.record else None,
            "score_kind": "exact",
            "oracle_length": False,
            "tally": self.tally.as_dict(),
        }


class EncoderDecoder(Autoregressive):
    """An encoder-decoder (mT0, Flan-T5): HFLM's seq2seq backend."""

    adapter = "encdec"
    backend_name = "seq2seq"
