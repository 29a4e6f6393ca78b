"""Instruction Modelling's analyses over a set of checkpoints: losses, overlap with the training set, gains, the two fits.

Per checkpoint: the loss of every answer, on rows it was trained on and on rows that none was (facts A8: mean over an answer's
tokens, then over examples), and (networks that write left to right) the BLEU of its greedy answers to training prompts
against the training answers. Per pair that differs in the loss on instructions alone: the gain of IM over IT, here the
percentage by which the test loss falls. Per sweep: gain = slope·log10(x) + intercept, x the training set's ratio of
instruction to answer words or its number of examples (Shi et al. 2024, Figure 2, where the gain is AlpacaEval's).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.backbones import MaskedBackbone
from harness.config import ConfigError
from harness.loading import RECIPE_FILE
from harness.progress import bar
from harness.records import digest_of
from trainers.analysis_tables import TABLES, FitRow, GainRow, LossRow, SummaryRow, distributions, fit_of
from trainers.checkpoint import mixture_folder
from trainers.encode import Example, encode
from trainers.losses import batches, load, losses, overlap_with_training
from trainers.mixture import read_records, training_files
from trainers.mixture_files import records_of
from trainers.recipe import Recipe, load_recipe
from trainers.sources import words_asked_and_answered
from trainers.survey import text_of

ANSWER_BATCH = 16


@dataclass(frozen=True)
class Subject:
    """A checkpoint, its recipe and what it was trained on (records, each as often as it is seen in an epoch)."""

    folder: Path
    recipe: Recipe
    trained_on: list[dict]

    @property
    def method(self) -> str:
        """it, im, im_released, with what else the recipe adds: neftune, kl."""
        settings = self.recipe.objective.settings
        base = ("im_released" if settings.get("template_loss") else "im") if settings.get("instruction_loss") else "it"
        added = [("neftune", self.recipe.training.neftune_alpha), ("kl", settings.get("kl_weight"))]
        return "+".join([base, *(name for name, value in added if value)])

    @property
    def ratio(self) -> float:
        """Instruction words ÷ answer words of the training set, role markers counted as the paper does."""
        counted = [words_asked_and_answered(record) for record in self.trained_on]
        return sum(asked for asked, _ in counted) / sum(answered for _, answered in counted)

    def key(self, *free: str) -> str:
        """What a recipe is but for its name, the loss on instructions, and the seed or settings of its mixture that are `free`."""
        what = self.recipe.model_dump(mode="json", exclude={"name", "label", "source", *free})
        for setting in ("instruction_loss", "template_loss"):
            what["objective"]["settings"].pop(setting, None)
        for place in (what["mixture"], *what["mixture"]["sources"]):
            for setting in free:
                place.pop(setting, None)
        return digest_of(what)


def subject(folder: Path, corpus: Path | None) -> Subject:
    """A sealed checkpoint with its training records.

    Raises:
        ConfigError: its recipe or its data is missing.
    """
    recipe = load_recipe(folder / RECIPE_FILE)
    if recipe.mixture.source == "sources":
        rows = records_of(mixture_folder(recipe, folder))
        trained_on = [record for batch in rows for record in batch for _ in range(record["copies"])]
    else:
        trained_on = read_records(training_files(recipe.mixture, corpus), recipe.mixture.records)
    return Subject(folder, recipe, trained_on)


def unseen(records: Iterable[dict], subjects: Sequence[Subject], wanted: int) -> list[dict]:
    """The last records that no subject was trained on, in order.

    Raises:
        ConfigError: there are none.
    """
    seen = {hashlib.sha256(text_of(record)).digest() for one in subjects for record in one.trained_on}
    found = [record for record in records if hashlib.sha256(text_of(record)).digest() not in seen]
    if not found:
        raise ConfigError("every record was trained on by one of the checkpoints: name others with --test FILE.")
    return found[-wanted:]


def analyse(subjects: Sequence[Subject], test: Sequence[dict], *, examples: int = 500, answers: int = 100) -> dict:
    """All tables: {name: rows}; `examples` of each training set, evenly spaced, `answers` of them written again (0: none).

    Raises:
        ConfigError: nothing to compare.
    """
    if not subjects:
        raise ConfigError("no finished checkpoint to analyse.")
    found: dict[str, list] = {name: [] for name in TABLES}
    for one in bar(subjects, what="losses", unit="checkpoints"):
        loaded = load(str(one.folder))
        step = max(1, len(one.trained_on) // examples)
        sample = one.trained_on[::step][:examples]
        for part, records in (("train", sample), ("test", test)):
            rows, summary = _measured(one, loaded, part, records, answers if part == "train" else 0)
            found["losses"] += rows
            found["summary"].append(summary)
    found["distributions"] = distributions(found["losses"])
    found["gains"] = gains(subjects, found["losses"], found["summary"])
    found["fits"] = fits(subjects, found["gains"])
    return found


def _measured(one: Subject, loaded, part: str, records: Sequence[dict], answers: int) -> tuple[list, SummaryRow]:
    room = one.recipe.training.max_length
    options = (room, one.recipe.training.too_long, one.recipe.prompt_special_tokens)
    made = encode(records, loaded.tokenizer, one.recipe.template, *options)
    ids = {"pad": loaded.tokenizer.pad_token_id, "eos": loaded.tokenizer.eos_token_id}
    name, measured = one.folder.name, losses(loaded.network, made.examples, **ids)
    rows = [
        LossRow(name, one.method, part, number, loss.mean("output"), loss.tokens["output"])
        for number, loss in zip(made.numbers, measured, strict=True)
    ]
    bleu = None
    if answers and not isinstance(loaded.network, MaskedBackbone):
        chosen = made.examples[:: max(1, len(made.examples) // answers)][:answers]
        texts = written(loaded.network, loaded.tokenizer, chosen)
        bleu = overlap_with_training(texts, [loaded.tokenizer.decode(list(e.target)) for e in chosen])
    values = np.array([row.nats_per_token for row in rows])
    error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
    low, middle, high = (float(q) for q in np.quantile(values, [0.1, 0.5, 0.9]))
    size, mean = len(one.trained_on), float(values.mean())
    return rows, SummaryRow(
        name, one.method, one.recipe.seed, size, one.ratio, part, len(values), mean, error, low, middle, high, bleu
    )


@torch.inference_mode()
def written(network: Any, tokenizer, examples: Sequence[Example]) -> list[str]:
    """Greedy answers to the examples' prompts, at most as long as the longest of their own answers and 16 tokens more."""
    room, texts = max(len(e.target) for e in examples) + 16, [""] * len(examples)
    for numbers, batch in batches(examples, ANSWER_BATCH):
        width = max(len(e.prompt) for e in batch)
        rows = [[tokenizer.pad_token_id] * (width - len(e.prompt)) + list(e.prompt) for e in batch]
        mask = [[0] * (width - len(e.prompt)) + [1] * len(e.prompt) for e in batch]
        out = network.generate(
            input_ids=torch.tensor(rows, device=network.device), attention_mask=torch.tensor(mask, device=network.device),
            max_new_tokens=room, do_sample=False, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        )  # fmt: skip
        start = 0 if network.config.is_encoder_decoder else width
        for number, ids in zip(numbers, out[:, start:], strict=True):
            texts[number] = tokenizer.decode(ids, skip_special_tokens=True)
    return texts


def gains(subjects: Sequence[Subject], rows: Sequence[LossRow], summary: Sequence[SummaryRow]) -> list[GainRow]:
    """Every pair of an IT and an IM checkpoint whose recipes differ in nothing else."""
    mean = {(row.checkpoint, row.part): row.mean for row in summary}
    test: dict[str, np.ndarray] = {}
    for one in subjects:
        own = [row.nats_per_token for row in rows if (row.checkpoint, row.part) == (one.folder.name, "test")]
        test[one.folder.name] = np.array(own)
    made = []
    for it, im in _pairs(subjects):
        a, b = it.folder.name, im.folder.name
        before = float(test[a].mean())
        # the ratio's error to first order: of IM − (IM/IT)·IT per example
        apart = test[b] - test[b].mean() / before * test[a]
        error = 100 * float(apart.std(ddof=1)) / math.sqrt(len(apart)) / before if len(apart) > 1 else math.nan
        gain = 100 * (before - float(test[b].mean())) / before
        made.append(
            GainRow(
                a,
                b,
                it.recipe.seed,
                len(it.trained_on),
                it.ratio,
                mean[a, "train"],
                mean[b, "train"],
                mean[a, "test"],
                mean[b, "test"],
                gain,
                error,
            )
        )
    return made


def _pairs(subjects: Sequence[Subject]) -> list[tuple[Subject, Subject]]:
    plain = {one.key(): one for one in subjects if not one.recipe.objective.settings.get("instruction_loss")}
    both = [one for one in subjects if one.recipe.objective.settings.get("instruction_loss")]
    return [(plain[one.key()], one) for one in both if one.key() in plain]


def fits(subjects: Sequence[Subject], found: Sequence[GainRow]) -> list[FitRow]:
    """The fit of every sweep with three or more points: pairs whose mixtures differ in their size, or in their ratio, alone."""
    of = {one.folder.name: one for one in subjects}
    made = []
    for against, free in (("ratio", ("seed", "nearest_ratio")), ("examples", ("seed", "records", "share", "limit"))):
        sweeps: dict[tuple[str, str], list[GainRow]] = {}
        for row in found:
            sweeps.setdefault((of[row.im].method, of[row.im].key(*free)), []).append(row)
        for (method, _), rows in sweeps.items():
            x = [row.ratio if against == "ratio" else float(row.training_examples) for row in rows]
            if len({round(value, 6) for value in x}) >= 3:
                _, sweep = min((place, of[row.im].recipe.name) for place, row in zip(x, rows, strict=True))
                fit = fit_of(sweep, method, against, x, [row.gain for row in rows])
                made.append(replace(fit, pairs=" ".join(row.im for row in rows)))
    return made
