"""lm-eval adapter for masked LMs: `nar_xlmr` (mask-predict, length head), base of `diffusion_xlmr`.

Requests become items in `encoding`, items are scored by the engine of `rows`, answers are written by `writing`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

from harness.adapters.answers import asker, files_digest, question_lines, stored_scores
from harness.adapters.base import Tally, fit_threads, newest_checkpoint, usable_device, weights_sha256
from harness.adapters.encoding import RequestEncoder, arguments_of, where
from harness.adapters.processes import DataParallelLM
from harness.adapters.repeated import check_samples
from harness.adapters.settings import MaskedSettings
from harness.adapters.writing import write
from harness.backbones import BackboneError
from harness.config import unknown
from harness.decoders.length import length_logprobs
from harness.loading import load_masked
from harness.progress import bar
from harness.rows import RowEngine, ScoringError
from harness.scorers import NO_COMPAT, Item, Scored
from harness.store import Store

# Words of lm-eval's generation settings that are handled apart, or that parallel decoding has no use for.
IGNORED_GENERATION_KEYS = {"until", "do_sample", "top_k", "num_beams", "use_cache"}


class MaskedLM(DataParallelLM):
    """Any `*ForMaskedLM` checkpoint behind lm-eval's three request types.

    Args:
        pretrained: local folder or hub id; None takes the newest finished local checkpoint of this adapter.
        revision, dtype, device, trust_remote_code: as in transformers' `from_pretrained`.
        batch_size: most requests whose rows share a forward pass, or "auto": as many as the engine's number of tokens
            holds. Out of memory, a pass takes fewer tokens.
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
        super().__init__(torch.device(usable_device(device)))
        del max_batch_size  # lm-eval passes it always; packing is bounded by tokens here
        self.asked = self.settings = self.defaults.changed(settings)
        self.pretrained = pretrained or str(newest_checkpoint(self.adapter))
        if pretrained is None and self.rank == 0:
            print(f"{self.adapter}: no pretrained= given, using the newest local checkpoint {self.pretrained}")
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
        more: dict[str, Any] = {"compiled": True} if self.compiled else {}
        if self.settings.temperature:
            more["temperature_counts"] = True  # before, every task's `do_sample: false` took it away: other numbers
        return {"revision": self.revision, "dtype": self.dtype, "layout": self.backbone.layout.settings(), **more}

    def _asker(self) -> dict[str, Any]:
        files = files_digest(self.pretrained, self.record, self.backbone.model, self.tokenizer)
        return asker(self.adapter, files, {**self.identity(), "device": self._device.type})

    def configure(self, **changes) -> None:
        """Replace settings it was loaded with (a suite asks one checkpoint in several ways); none restores those."""
        self.settings = self.asked.changed(changes)

    @property
    def encoder(self) -> RequestEncoder:
        """What makes token ids of requests; contexts that it cuts count in the tally of now."""
        return RequestEncoder(self.backbone, self.tokenizer, self.tally)

    @property
    def _by_word(self) -> bool:
        return self.settings.scorer == "pll_word_l2r"

    # -- scoring --------------------------------------------------------------------------------------------------

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log p of the continuation in nats, greedy flag) per request, in order."""
        items = self.encoder.pairs(requests, self._by_word)
        scored = self._score(items, "scoring", disable_tqdm)
        self.score_log += question_lines(requests, items, scored)
        answers = [(score.logprob, score.greedy) for score in scored]
        for request, answer in zip(requests, answers, strict=True):
            self.cache_hook.add_partial("loglikelihood", request.args, answer)
        return answers

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """log p of each whole text in nats, in windows that fit the model."""
        items, owner = [], []
        for index, request in enumerate(requests):
            windows = self.encoder.windows(request, self._by_word)
            items += windows
            owner += [index] * len(windows)
        totals = [0.0] * len(requests)
        for index, score in zip(owner, self._score(items, "scoring texts", disable_tqdm, whole=False), strict=True):
            totals[index] += score.logprob
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def _score(self, items: Sequence[Item], what: str, quiet: bool, whole: bool = True) -> list[Scored]:
        estimator = self.settings.estimator
        most_rows = None if self.batch_size is None else self.batch_size * estimator.rows
        engine = RowEngine(self.backbone, most_rows, remember=self.settings.prompt_cache == "auto")
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

    # -- generation -----------------------------------------------------------------------------------------------

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """One text per request, cut at the first stop string, in order."""
        jobs = self._jobs(requests)
        check_samples(requests, lambda index: jobs[index].settings.drawn, self.world_size)
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
        elif "temperature" not in given:
            arguments.pop("temperature", None)  # lm-eval's 0 for a task's `do_sample: false`: the model's own counts
        changes = {key: value for key, value in arguments.items() if key not in IGNORED_GENERATION_KEYS}
        changes["max_gen_toks"] = int(arguments["max_gen_toks"])
        settings = self.settings.changed(changes)
        room = self.max_length - self.backbone.layout.overhead
        if settings.max_gen_toks >= min(room, self.backbone.layout.target_room(self.max_length) + 1):
            raise ScoringError(
                f"max_gen_toks={settings.max_gen_toks} leaves no room for a prompt: the model holds {room} tokens."
            )
        prompt = self.encoder.prompt(context, room - settings.max_gen_toks)
        oracle = self._oracle_length(request) if settings.length == "oracle" else None
        self.tally.oracle_length = self.tally.oracle_length or oracle is not None
        self.tally.settings = asdict(settings)
        return _Job(tuple(prompt), settings, until, oracle, name)

    def reference_length(self, reference: str) -> int:
        """Tokens of a reference answer, as it would stand behind its prompt."""
        return len(self.encoder.ids(" " + reference))

    def _oracle_length(self, request: Instance) -> int:
        """Tokens of the reference, for oracle length only: the one place where an adapter reads an answer."""
        doc = request.doc or {}
        if not isinstance(doc.get("targets"), str):
            raise ValueError(
                f"{where(request)}: length=oracle needs documents with a `targets` text; use length=predicted or fixed."
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


class NarXlmr(MaskedLM):
    """`--model nar_xlmr`: Instruct-XMLR and other non-autoregressive masked LMs (mask-predict, 10 passes)."""


@dataclass(frozen=True)
class _Job:
    prompt: tuple[int, ...]
    settings: MaskedSettings
    until: tuple[str, ...]
    oracle: int | None
    name: str


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
