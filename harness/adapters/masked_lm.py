"""lm-eval adapter for masked LMs: `nar_xlmr` (mask-predict, length head), base of `diffusion_xlmr`.

It encodes context and continuation itself: lm-eval's own pair encoding slices a joint encoding by the context's
length, which with a tokenizer that appends `</s>` loses the first target token and scores `</s>` instead.
It inherits `LM`, not `TemplateLM`, which drops the request's task and document.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import lm_eval.models  # noqa: F401  registering a model before the built-ins are imported would hide them all
import numpy as np
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from harness.adapters.answers import asker, files_digest, question_lines, stored_scores
from harness.adapters.base import Tally, fit_threads, newest_checkpoint, usable_device, weights_sha256
from harness.adapters.settings import MaskedSettings
from harness.adapters.writing import write
from harness.backbones import BackboneError, load_masked
from harness.decoders.length import length_logprobs
from harness.progress import bar
from harness.rows import RowEngine, ScoringError
from harness.scorers import NO_COMPAT, Item, Scored
from harness.store import Store
from harness.suites import unknown

# Words of lm-eval's generation settings that are handled apart, or that parallel decoding has no use for.
IGNORED_GENERATION_KEYS = {"until", "do_sample", "top_k", "num_beams", "use_cache"}


class MaskedLM(LM):
    """Any `*ForMaskedLM` checkpoint behind lm-eval's three request types.

    Args:
        pretrained: local folder or hub id; None takes the newest finished local checkpoint of this adapter.
        revision, dtype, device, trust_remote_code: as in transformers' `from_pretrained`.
        batch_size: rows per forward pass, or "auto" (packs by tokens, halves on out-of-memory).
        layout: `joint` or `isolated` for checkpoints that do not record one.
        compile: torch.compile the network; pays after some ten thousand answers.
        store: file in which answers are kept and looked up (see `harness.store`); none by default.
        settings: see the settings class of the adapter.

    Raises:
        BackboneError, NoCheckpoint, ValueError: one sentence on what was expected, what came, what to do.
    """

    adapter = "nar_xlmr"
    defaults = MaskedSettings()

    def __init__(
        self,
        pretrained: str | None = None,
        revision: str = "main",
        dtype: str = "float32",
        device: str | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        trust_remote_code: bool = False,
        layout: str | None = None,
        store: str | None = None,
        compile: bool = False,
        **settings,
    ):
        super().__init__()
        del max_batch_size  # lm-eval passes it always; packing is bounded by tokens here
        self.asked = self.settings = self.defaults.changed(settings)
        self.accelerator = _accelerator()
        if self.accelerator is not None:
            self._rank, self._world_size = self.accelerator.process_index, self.accelerator.num_processes
        self.pretrained = pretrained or str(newest_checkpoint(self.adapter))
        if pretrained is None and self.rank == 0:
            print(f"{self.adapter}: no pretrained= given, using the newest local checkpoint {self.pretrained}")
        self._device = torch.device(usable_device(device))
        loaded = load_masked(
            self.pretrained, revision=revision, dtype=_dtype(dtype), device=str(self._device),
            trust_remote_code=bool(trust_remote_code), layout=layout,
        )  # fmt: skip
        self.backbone, self.tokenizer, self.record = loaded.backbone, loaded.tokenizer, loaded.record
        fit_threads(self.backbone.model.config, self._device.type)
        self.revision, self.dtype, self.batch_size = revision, dtype, _batch_size(batch_size)
        self.compiled = bool(compile)
        if self.compiled:
            self.backbone.compile()
        self.weights_sha256 = weights_sha256(self.pretrained, self.record)
        self.tally = Tally()
        self.score_log: list[dict[str, Any]] = []
        self.store = None if store is None else Store(store, self._asker())

    # -- what lm-eval asks of a model ---------------------------------------------------------------------------

    @property
    def max_length(self) -> int:
        """Most tokens of a row, special tokens included."""
        return self.backbone.max_length

    @property
    def eot_token_id(self) -> int:
        """The token that closes a target."""
        return self.backbone.ids.eos

    @property
    def tokenizer_name(self) -> str:
        """Name of the tokenizer, for lm-eval's request cache."""
        return self.pretrained.replace("/", "__")

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation in the tokenizer's own chat template."""
        return self.tokenizer.apply_chat_template(
            chat_history, tokenize=False, add_generation_prompt=add_generation_prompt
        )

    def get_model_info(self) -> dict:
        """What lm-eval writes into its results beside the model's name."""
        record = self.record
        return {
            "adapter": self.adapter,
            "adapter_settings": asdict(self.settings),
            "checkpoint": self.pretrained,
            "checkpoint_revision": self.revision,
            "checkpoint_sha256": self.weights_sha256,
            "checkpoint_recipe": record.recipe if record else None,
            "checkpoint_seed": record.seed if record else None,
            "layout": self.backbone.layout.name,
            "score_kind": self.tally.kind,
            "oracle_length": self.settings.length == "oracle",
            "tally": self.tally.as_dict(),
        }

    def identity(self) -> dict:
        """What beside weights and settings can change a number."""
        more = {"compiled": True} if self.compiled else {}
        return {"revision": self.revision, "dtype": self.dtype, "layout": self.backbone.layout.settings(), **more}

    def _asker(self) -> dict[str, Any]:
        files = files_digest(self.pretrained, self.record, self.backbone.model, self.tokenizer)
        return asker(self.adapter, files, {**self.identity(), "device": self._device.type})

    def configure(self, **changes) -> None:
        """Replace settings it was loaded with (a suite asks one checkpoint in several ways); none restores those."""
        self.settings = self.asked.changed(changes)

    # -- scoring --------------------------------------------------------------------------------------------------

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log p of the continuation in nats, greedy flag) per request, in order."""
        items = self._encode(requests)
        scored = self._score(items, "scoring", disable_tqdm)
        self.score_log += question_lines(requests, items, scored)
        answers = [(score.logprob, score.greedy) for score in scored]
        for request, answer in zip(requests, answers, strict=True):
            self.cache_hook.add_partial("loglikelihood", request.args, answer)
        return answers

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """log p of each whole text in nats, in windows that fit the model."""
        items, owner = [], []
        room = self.backbone.layout.target_room(self.max_length)
        for index, request in enumerate(requests):
            (text,) = arguments_of(request)
            tokens = self._ids(text)
            if not tokens:
                raise ScoringError(f"{_where(request)}: the text to score is empty.")
            self._refuse_masks(request, tokens)
            words, at = self._words(text), 0
            windows = get_rolling_token_windows(tokens, self.backbone.ids.bos, room, 1)
            for number, window in enumerate(windows):
                context, target = make_disjoint_window(window)
                prompt = tuple(token for token in context if token != self.backbone.ids.bos)
                prompt = prompt[max(0, len(prompt) + len(target) - room) :]
                question = f"{request.task_name}/{request.doc_id}/{request.idx}/{number}"
                items.append(Item(prompt, tuple(target), question, words[at : at + len(target)]))
                at += len(target)
                owner.append(index)
        totals = [0.0] * len(requests)
        for index, score in zip(owner, self._score(items, "scoring texts", disable_tqdm, whole=False), strict=True):
            totals[index] += score.logprob
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def _score(self, items: Sequence[Item], what: str, quiet: bool, whole: bool = True) -> list[Scored]:
        estimator = self.settings.estimator
        engine = RowEngine(self.backbone, self.batch_size, remember=self.settings.prompt_cache == "auto")
        name = estimator.scorer if estimator.compat == NO_COMPAT else f"compat={estimator.compat}"
        with bar(
            total=len(items), what=f"{self.adapter} {what} ({name})", unit="requests", quiet=quiet or self.rank != 0
        ) as progress:
            scored, stored = stored_scores(estimator, items, engine, self.store, progress.update)
        self.tally.stored += stored
        if whole and self.settings.length_term and self.backbone.length_head is not None:
            scored = self._with_length(items, scored)
        for score in scored:
            self.tally.weaken(score.kind)
        self.tally.scored += len(scored)
        self.tally.rows += engine.rows_computed
        return scored

    def _with_length(self, items: Sequence[Item], scored: list[Scored]) -> list[Scored]:
        """log p(y, L | x) = log p(L | x) + log p(y | L, x); each distinct prompt is read once."""
        prompts = sorted({item.prompt for item in items}, key=len)
        logprob: dict[tuple[int, ...], np.ndarray] = {}
        for at in range(0, len(prompts), self.batch_size or 64):
            batch = prompts[at : at + (self.batch_size or 64)]
            logprob |= dict(zip(batch, length_logprobs(self.backbone, batch), strict=True))
        return [
            replace(score, logprob=score.logprob + float(logprob[item.prompt][len(item.target)]))
            for item, score in zip(items, scored, strict=True)
        ]

    def _encode(self, requests: Sequence[Instance]) -> list[Item]:
        pairs = []
        for request in requests:
            context, continuation = arguments_of(request)
            stripped = context.rstrip(" ")
            pairs.append((stripped, context[len(stripped) :] + continuation))
        # one call for all texts, each once: a call per text costs more than the rest of the encoding
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        found = self.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        ids = dict(zip(texts, found, strict=True))
        return [
            self._item(request, ids[context], continuation, ids[continuation])
            for request, (context, continuation) in zip(requests, pairs, strict=True)
        ]

    def _item(self, request: Instance, prompt: list[int], continuation: str, target: list[int]) -> Item:
        if not continuation.strip() or not target:
            raise ScoringError(f"{_where(request)}: the continuation to score is empty; give every choice a text.")
        longest = self.backbone.layout.target_room(self.max_length)
        if len(target) > longest:
            raise ScoringError(
                f"{_where(request)}: the continuation has {len(target)} tokens and the model holds {longest}; "
                "shorten it or take a longer model."
            )
        room = self.max_length - self.backbone.layout.overhead - len(target)
        self._refuse_masks(request, prompt + target)
        question = "" if request.task_name is None else f"{request.task_name}/{request.doc_id}"
        return Item(tuple(self._left_truncated(prompt, room)), tuple(target), question, self._words(continuation))

    def _refuse_masks(self, request: Instance, tokens: Sequence[int]) -> None:
        if self.backbone.ids.mask in tokens:
            raise ScoringError(f"{_where(request)}: the text contains the mask token itself, so it cannot be scored.")

    def _words(self, text: str) -> tuple[int, ...]:
        """Word number of each token of a text, for the scorer that needs it."""
        if self.settings.scorer != "pll_word_l2r" or not self.tokenizer.is_fast:
            return ()
        words = self.tokenizer(text, add_special_tokens=False).word_ids()
        return tuple(-1 if word is None else word for word in words)

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _left_truncated(self, prompt: list[int], room: int) -> list[int]:
        if len(prompt) <= room:
            return prompt
        self.tally.truncated += 1
        return prompt[len(prompt) - room :]

    # -- generation -----------------------------------------------------------------------------------------------

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """One text per request, cut at the first stop string, in order."""
        jobs = self._jobs(requests)
        keys = [self._job_key(job) for job in jobs]
        known = {} if self.store is None else self.store.get(keys)
        answers = [known.get(key, "") for key in keys]
        order = [index for index in range(len(jobs)) if keys[index] not in known]
        order.sort(key=lambda index: (str(jobs[index].settings), -len(jobs[index].prompt)))
        size = self.batch_size or 64
        with bar(
            total=len(jobs), what=f"{self.adapter} writing", unit="answers", quiet=disable_tqdm or self.rank != 0
        ) as progress:
            progress.update(len(jobs) - len(order))
            at = 0
            while at < len(order):
                first = jobs[order[at]].settings
                batch = [i for i in order[at : at + size] if jobs[i].settings == first]
                texts = self._write([jobs[i] for i in batch], first)
                if self.store is not None:
                    self.store.put([(keys[i], text) for i, text in zip(batch, texts, strict=True)])
                for index, text in zip(batch, texts, strict=True):
                    answers[index] = text
                    self.cache_hook.add_partial("generate_until", requests[index].args, text)
                at += len(batch)
                progress.update(len(batch))
        self.tally.scored += len(jobs)
        self.tally.stored += len(jobs) - len(order)
        return answers

    def _job_key(self, job: _Job) -> str:
        if self.store is None:
            return ""
        drawn = job.name if job.settings.drawn else ""
        return self.store.key("write", asdict(job.settings), job.prompt, job.until, job.oracle, drawn)

    def _jobs(self, requests: Sequence[Instance]) -> list[_Job]:
        """One job per request; a document asked for n times gets n different draws."""
        jobs, times = [], Counter()
        for request in requests:
            question = f"{request.task_name}/{request.doc_id}"
            jobs.append(self._job(request, f"{question}/{times[question]}"))
            times[question] += 1
        return jobs

    def _job(self, request: Instance, name: str) -> _Job:
        context, given = arguments_of(request)
        arguments: dict[str, Any] = {**normalize_gen_kwargs(dict(given), self.settings.max_gen_toks)}
        until = tuple(handle_stop_sequences(arguments.get("until"), eos=None))
        if arguments.get("do_sample") and not self.settings.temperature:
            arguments.setdefault("temperature", 1.0)  # as transformers' own default
        changes = {key: value for key, value in arguments.items() if key not in IGNORED_GENERATION_KEYS}
        changes["max_gen_toks"] = int(arguments["max_gen_toks"])
        settings = self.settings.changed(changes)
        room = self.max_length - self.backbone.layout.overhead
        if settings.max_gen_toks >= min(room, self.backbone.layout.target_room(self.max_length) + 1):
            raise ScoringError(
                f"max_gen_toks={settings.max_gen_toks} leaves no room for a prompt: the model holds {room} tokens."
            )
        prompt = self._left_truncated(self._ids(context), room - settings.max_gen_toks)
        oracle = self._oracle_length(request) if settings.length == "oracle" else None
        self.tally.oracle_length = self.tally.oracle_length or oracle is not None
        self.tally.settings = asdict(settings)
        return _Job(tuple(prompt), settings, until, oracle, name)

    def reference_length(self, reference: str) -> int:
        """Tokens of a reference answer, as it would stand behind its prompt."""
        return len(self._ids(" " + reference))

    def _oracle_length(self, request: Instance) -> int:
        """Tokens of the reference, for oracle length only: the one place where an adapter reads an answer."""
        doc = request.doc or {}
        if not isinstance(doc.get("targets"), str):
            raise ValueError(
                f"{_where(request)}: length=oracle needs documents with a `targets` text; use length=predicted or fixed."
            )
        return self.reference_length(doc["targets"])

    def _write(self, jobs: Sequence[_Job], settings: MaskedSettings) -> list[str]:
        tokens = self.decode_tokens(
            [job.prompt for job in jobs], settings, [job.oracle for job in jobs], [job.name for job in jobs]
        )
        texts = []
        for job, ids in zip(jobs, tokens, strict=True):
            text = self.tokenizer.decode(ids, skip_special_tokens=True)
            for stop in job.until:
                text = text.split(stop)[0] if stop else text
            texts.append(text)
        return texts

    def decode_tokens(
        self,
        prompts: Sequence[Sequence[int]],
        settings: MaskedSettings,
        oracle: Sequence[int | None],
        names: Sequence[str] | None = None,
    ) -> list[list[int]]:
        """Answer tokens (nothing after eos) of a batch of prompts under `settings`; one batch, all beams together.

        names: whose draws a sampled answer uses; the prompt stands for it where there is none.
        """
        names = [str(list(prompt)) for prompt in prompts] if names is None else names
        written = write(self.backbone, prompts, settings, oracle, names)
        self.tally.forward_passes += written.forward_passes
        return written.tokens

    # -- several processes ----------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Where requests are computed."""
        return self._device

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor of every process, concatenated."""
        gathered: Any = tensor if self.accelerator is None else self.accelerator.gather(tensor)
        return gathered

    def gather_object(self, obj, dst: int = 0):
        """A list of every process's object on process `dst`, None elsewhere."""
        if self.accelerator is None:
            return [obj]
        gathered = [None] * self.world_size if self.rank == dst else None
        torch.distributed.gather_object(obj=obj, object_gather_list=gathered, dst=dst)
        return gathered

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()


class NarXlmr(MaskedLM):
    """`--model nar_xlmr`: Instruct-XMLR and other non-autoregressive masked LMs (mask-predict, 10 passes)."""


@dataclass(frozen=True)
class _Job:
    prompt: tuple[int, ...]
    settings: MaskedSettings
    until: tuple[str, ...]
    oracle: int | None
    name: str


def arguments_of(request: Instance) -> Any:
    """The request's arguments: (context, continuation), (text,) or (context, generation settings)."""
    return request.args


def _where(request: Instance) -> str:
    return f"task {request.task_name}, document {request.doc_id}, choice {request.idx}"


def _batch_size(value: int | str | None) -> int | None:
    """Rows per pass; None = packed by tokens ("auto")."""
    if value is None or str(value).startswith("auto"):
        return None
    if not str(value).isdigit() or int(value) < 1:
        raise ValueError(f"batch_size={value!r}: expected a number of at least 1, or auto.")
    return int(value)


def _dtype(name: str) -> str:
    names = {"auto": "float32", "float32": "float32", "fp32": "float32", "bfloat16": "bfloat16", "bf16": "bfloat16"}
    if str(name) not in names:
        raise BackboneError(unknown("dtype", str(name), list(names)))
    return names[str(name)]


def _accelerator():
    """accelerate's state when several processes were launched, else None."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    from accelerate import Accelerator

    return Accelerator(cpu=not torch.cuda.is_available())
