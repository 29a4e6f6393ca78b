"""`--model ar` and `--model encdec`: lm-eval's own HFLM with our defaults and records; every score is exact."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import lm_eval.models  # noqa: F401  registering a model before the built-ins are imported would hide them all
from lm_eval.models import huggingface
from lm_eval.models.utils import normalize_gen_kwargs

from harness.adapters.answers import asker, files_digest
from harness.adapters.base import Tally, fit_threads, newest_checkpoint, usable_device, weights_sha256
from harness.adapters.batch_size import Extent, rows_within
from harness.adapters.exact_scores import ExactScores
from harness.adapters.repeated import check_samples
from harness.adapters.settings import MaskedSettings
from harness.backbones import BackboneError
from harness.loading import checkpoint_record, explained
from harness.store import Part, Store, StoringHook

SPECIAL_TOKENS = ("none", "tokenizer")
UNIMPORTANT = {"device", "batch_size", "max_batch_size"}
HFLM: Any = huggingface.HFLM  # its registration decorator hides its type from checkers


class Autoregressive(HFLM):
    """A decoder-only causal LM, scored and decoded as `--model hf` does it, safetensors only.

    Args:
        prompt_special_tokens: "none": a prompt without the special tokens that its tokenizer adds of its own accord;
            "tokenizer": with them. Not given: as a checkpoint of ours was trained, else as `hf` does it.
    """

    adapter = "ar"
    backend_name = "causal"

    def __init__(
        self,
        pretrained: str | None = None,
        store: str | None = None,
        prompt_special_tokens: str | None = None,
        **arguments,
    ):
        self._encoded = lru_cache(maxsize=8)(super().tok_encode)
        self._refuse_settings(arguments)
        name = pretrained or str(newest_checkpoint(self.adapter))
        if pretrained is None:
            print(f"{self.adapter}: no pretrained= given, using the newest local checkpoint {name}")
        self.record = checkpoint_record(name)
        self._require_class(name, arguments)
        self.prompt_special_tokens = self._special_tokens(prompt_special_tokens, arguments)
        arguments.setdefault("dtype", "float32")
        arguments.setdefault("use_safetensors", True)
        arguments["device"] = usable_device(arguments.get("device"))
        with explained(name):
            super().__init__(pretrained=name, backend=self.backend_name, **arguments)
        fit_threads(self.model.config, self.device.type)
        self.pretrained, self.tally = name, Tally()
        self._extent = Extent(self.max_length, self.max_length)  # of the rows at hand
        self._exact = ExactScores(self)
        self.streamer: Any = None  # of transformers' `generate`: hears the tokens of a single answer
        self.score_log: list[dict] = []  # exact scores: nothing to say of their error
        self.weights_sha256 = weights_sha256(name, self.record)
        self.arguments = {key: str(value) for key, value in arguments.items() if key not in UNIMPORTANT}
        if prompt_special_tokens is not None:
            self.arguments["prompt_special_tokens"] = prompt_special_tokens
        self.store = None if store is None else Store(store, self._asker())
        self.set_cache_hook(self.cache_hook)

    def _refuse_settings(self, arguments: dict) -> None:
        """BackboneError for settings of the masked adapters, which HFLM would hand to the network."""
        for name in sorted(arguments.keys() & MaskedSettings.__dataclass_fields__.keys()):
            raise BackboneError(
                f"--model {self.adapter} has no setting '{name}', which is one of nar_xlmr and diffusion_xlmr: leave it "
                "out (what transformers' `generate` takes goes into --gen_kwargs)."
            )

    def _special_tokens(self, asked: str | None, arguments: dict) -> str | None:
        """What `prompt_special_tokens` is for this checkpoint; None: what HFLM does."""
        if asked is not None and asked not in SPECIAL_TOKENS:
            raise BackboneError(f"prompt_special_tokens='{asked}': expected {' or '.join(SPECIAL_TOKENS)}.")
        if asked is not None and arguments.get("add_bos_token") is not None:
            raise BackboneError(
                "prompt_special_tokens and add_bos_token both say what is put before a prompt: give one."
            )
        if asked is not None or self.record is None or arguments.get("add_bos_token") is not None:
            return asked
        return self.record.prompt_special_tokens

    def _asker(self) -> dict[str, Any]:
        files = files_digest(self.pretrained, self.record, self.model, self.tokenizer)
        around = {"prompt_special_tokens": self.prompt_special_tokens}
        return asker(self.adapter, files, {**self.identity(), **around, "device": self.device.type})

    def set_cache_hook(self, cache_hook) -> None:
        """lm-eval's own hook, behind ours: HFLM reports every answer there as soon as its batch is done."""
        super().set_cache_hook(StoringHook(getattr(self, "store", None), cache_hook))

    def _known(self, method: str, asked: list[tuple]) -> dict[int, Any]:
        """Answers of the store, by index of what is asked."""
        if self.store is None:
            return {}
        keys = [self.store.key(method, one) for one in asked]
        found = self.store.get(keys)
        self.tally.stored += sum(key in found for key in keys)
        return {index: found[key] for index, key in enumerate(keys) if key in found}

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

    def tok_encode(self, string, add_special_tokens: bool | None = None, **named) -> list[int]:
        """HFLM's token ids; a question's context, which HFLM asks for with each choice, is encoded once."""
        if add_special_tokens is None and self.prompt_special_tokens == "none":
            add_special_tokens = False
        return list(self._encoded(string, add_special_tokens, **named))

    def tok_batch_encode(self, strings, padding_side="left", left_truncate_len=None, truncation=False):
        """HFLM's padded prompts (ids, attention mask), without special tokens where the checkpoint knows none."""
        if self.prompt_special_tokens != "none":
            return super().tok_batch_encode(strings, padding_side, left_truncate_len, truncation)
        found = self.tokenizer(list(strings), add_special_tokens=False, truncation=truncation)["input_ids"]
        rows = [ids[-left_truncate_len:] if left_truncate_len else ids for ids in found]
        made = self.tokenizer.pad({"input_ids": rows}, padding_side=padding_side, return_tensors="pt")
        return made["input_ids"], made["attention_mask"]

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """HFLM's pair; of a tokenizer that closes a text, the continuation is what follows the closed context in training.

        HFLM slices the joint encoding by the context's length, which counts the `</s>` behind it.
        """
        if self.backend != "causal" or self.prompt_special_tokens != "tokenizer":
            return super()._encode_pair(context, continuation)
        stripped = context.rstrip()
        whole = self.tok_encode(context + continuation, add_special_tokens=False)
        before = self.tok_encode(stripped, add_special_tokens=False)
        return self.tok_encode(stripped), whole[len(before) :]

    def _loglikelihood_tokens(self, requests, disable_tqdm: bool = False, override_bs: int | None = None):
        """HFLM's scores, counted; the context is cut from the left where it does not fit."""
        windows = bool(requests) and requests[0][0] is None  # of rolling texts: HFLM gives them no name
        if windows:
            requests = [(Part(map(tuple, ids)), *ids) for _, *ids in requests]
        for _, context_ids, target_ids in requests:
            length = len(context_ids) + (0 if self.backend == "seq2seq" else len(target_ids) - 1)
            self.tally.truncated += length > self.max_length
        together = windows and self.world_size > 1  # padded across processes: all compute the same number
        known = {} if together else self._known("loglikelihood", [r[0] for r in requests])
        new = [request for index, request in enumerate(requests) if index not in known]
        computed = iter(self._exact.of(new, disable_tqdm, override_bs))
        scored = [tuple(known[index]) if index in known else next(computed) for index in range(len(requests))]
        self.tally.scored += len(scored)
        self.tally.weaken("exact")
        return scored

    def _detect_batch_size(self, requests=None, pos: int = 0) -> int:
        """HFLM's search for the largest batch; on a CPU, what memory allows by reckoning (see batch_size.py)."""
        if self.device.type != "cpu":
            return super()._detect_batch_size(requests, pos)
        extent = self._extent
        if requests:
            _, context_ids, target_ids = requests[pos]
            longest = max(len(target_ids) for *_, target_ids in requests)
            extent = Extent(min(len(context_ids) + len(target_ids), self.max_length), longest)
        if self.backend == "causal" and self._exact.projects_all:
            extent = extent._replace(scored=extent.tokens)
        return rows_within(self.model.config, extent, self.max_batch_size)

    def loglikelihood_rolling(self, requests, disable_tqdm: bool = False):
        """HFLM's log-likelihoods of whole texts; those of the store are not computed again."""
        return self._filled("loglikelihood_rolling", super().loglikelihood_rolling, requests, disable_tqdm)

    def _model_generate(self, context, max_length: int, stop: list[str], **settings):
        """HFLM's generation; a streamer hears the tokens where there is one answer to write and no beam."""
        if self.streamer is not None and len(context) == 1 and (self.model.generation_config.num_beams or 1) == 1:
            settings["streamer"] = self.streamer
        return super()._model_generate(context, max_length, stop, **settings)

    def generate_until(self, requests, disable_tqdm: bool = False):
        """HFLM's greedy answers, counted; those of the store are not written again."""
        whole, self._extent = self._extent, self._fit(requests)
        try:
            answers = self._filled("generate_until", super().generate_until, requests, disable_tqdm)
        finally:
            self._extent = whole
        self.tally.scored += len(answers)
        return answers

    def _fit(self, requests) -> Extent:
        """What the largest row takes, prompt and answer; counts the prompts that HFLM will cut from the left.

        Raises:
            BackboneError: an answer leaves no room for a prompt, or several answers are asked for in vain.
        """
        settings: list[dict[str, Any]] = [
            {**normalize_gen_kwargs(dict(r.args[1]), self.max_gen_toks)} for r in requests
        ]
        check_samples(requests, lambda index: bool(settings[index].get("do_sample")), self.world_size)
        tokens, copies = [0], [1]
        for request, asked in zip(requests, settings, strict=True):
            longest = int(asked["max_gen_toks"])
            room = self.max_length - (0 if self.backend == "seq2seq" else longest)
            if room <= 0:
                raise BackboneError(
                    f"max_gen_toks={longest} leaves no room for a prompt: the model holds {self.max_length} tokens."
                )
            prompt = len(self.tok_encode(request.args[0]))
            self.tally.truncated += prompt > room
            tokens.append(min(prompt, room) + longest)
            copies.append(int(asked.get("num_beams") or 1) * int(asked.get("num_return_sequences") or 1))
        return Extent(max(tokens), 1, max(copies))

    def _filled(self, method: str, compute, requests, quiet: bool) -> list:
        together = method == "loglikelihood_rolling" and self.world_size > 1  # its windows are padded across processes
        known = {} if together else self._known(method, [request.args for request in requests])
        new = [request for index, request in enumerate(requests) if index not in known]
        computed = iter(compute(new, disable_tqdm=quiet) if new or together else ())
        return [known[index] if index in known else next(computed) for index in range(len(requests))]

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
