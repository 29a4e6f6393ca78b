"""The Instruction-Modelling paper's 18 NLP benchmarks: which tasks, which metric, and its means. Pure Python.

Shi et al. 2024 (arXiv 2405.14394), Table 1: a group is the unweighted mean over its benchmarks, the overall score the
mean of the six groups. A benchmark of several tasks (lm-eval's tags) is the mean over its tasks. Values are per cent.

As published, translation enters as TER, for which lower is better, as if higher were better (`translation="ter"`);
`bleu` and `chrf` are the corrections.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

GROUP = "im_benchmarks"


@dataclass(frozen=True)
class Part:
    """One of the 18: the tasks that it is the mean of, and the metric (`metric,filter` as in lm-eval's results)."""

    name: str
    tasks: tuple[str, ...]
    metric: str


LAMBADA_MT = tuple(f"im_lambada_mt_{language}" for language in ("de", "en", "es", "fr", "it"))
TRANSLATIONS = tuple(f"im_{pair}" for pair in ("wmt14_en_fr", "wmt14_fr_en", "wmt16_de_en", "wmt16_en_de", "wmt16_en_ro", "wmt16_ro_en"))  # fmt: skip
ETHICS = tuple(f"im_ethics_{part}" for part in ("cm", "deontology", "justice", "utilitarianism", "virtue"))

GROUPS: dict[str, tuple[Part, ...]] = {
    "world_knowledge": (
        Part("mmlu", ("anyorder_mmlu",), "acc,none"),
        Part("piqa", ("im_piqa",), "acc_norm,none"),
        Part("openbookqa", ("im_openbookqa",), "acc_norm,none"),
        Part("hellaswag", ("im_hellaswag",), "acc_norm,none"),
        Part("lambada", ("im_lambada_openai", "im_lambada_standard"), "acc,none"),
    ),
    "multilinguality": (
        Part("lambada_multilingual", LAMBADA_MT, "acc,none"),
        Part("translation", TRANSLATIONS, "ter,none"),
    ),
    "commonsense_reasoning": (
        Part("wsc273", ("im_wsc273",), "acc,none"),
        Part("winogrande", ("im_winogrande",), "acc,none"),
        Part("ai2_arc", ("im_arc_easy", "im_arc_challenge"), "acc_norm,none"),
        Part("coqa", ("im_coqa",), "f1,none"),
    ),
    "symbolic_problem_solving": (
        Part("gsm8k_cot", ("im_gsm8k_cot",), "exact_match,strict-match"),
        Part("humaneval", ("im_humaneval",), "pass@1,executed"),
    ),
    "bbh": (Part("bbh_cot_fewshot", ("anyorder_bbh_cot",), "exact_match,none"),),
    "safety": (
        Part("truthfulqa_mc2", ("im_truthfulqa_mc2",), "acc,none"),
        Part("toxigen", ("im_toxigen",), "acc,none"),
        Part("hendrycks_ethics", ETHICS, "acc,none"),
    ),
}


def part_scores(results: Mapping[str, Mapping[str, float]], translation: str = "ter") -> dict[str, dict[str, float]]:
    """{group: {benchmark: per cent}} from {task: {metric: value}}.

    Raises:
        KeyError: results that are missing, all of them named; a mean over fewer benchmarks would be another score.
    """
    if translation not in ("ter", "bleu", "chrf"):
        raise ValueError(f"translation should be ter (as published), bleu or chrf, got {translation!r}.")
    missing = [
        f"{task} ({_metric(part, translation)})"
        for parts in GROUPS.values()
        for part in parts
        for task in part.tasks
        if _metric(part, translation) not in results.get(task, {})
    ]
    if missing:
        raise KeyError(f"{GROUP} needs results that are missing: {', '.join(missing)}.")
    return {group: {part.name: _score(part, results, translation) for part in parts} for group, parts in GROUPS.items()}


def _metric(part: Part, translation: str) -> str:
    return f"{translation},none" if part.name == "translation" else part.metric


def _score(part: Part, results: Mapping[str, Mapping[str, float]], translation: str) -> float:
    scale = 1.0 if part.name == "translation" else 100.0  # lm-eval gives TER, BLEU and chrF in per cent already
    return scale * statistics.fmean(results[task][_metric(part, translation)] for task in part.tasks)


def group_means(parts: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """{group: mean over its benchmarks}."""
    return {group: statistics.fmean(scores.values()) for group, scores in parts.items()}


def overall(groups: Mapping[str, float]) -> float:
    """The mean of the six groups."""
    return statistics.fmean(groups.values())


VARIANTS = {"ter": "as published, with TER as if higher were better", "bleu": "corrected, with BLEU", "chrf": "corrected, with chrF"}  # fmt: skip


def means_shown(results: Mapping[str, Mapping[str, float]]) -> str:
    """The paper's means in lines for people, as published and corrected; or which results they lack."""
    lines = []
    for translation, how in VARIANTS.items():
        try:
            means = group_means(part_scores(results, translation))
        except KeyError as error:
            return f"no means of the paper: {error.args[0]}"
        shown = ", ".join(f"{group} {value:.2f}" for group, value in means.items())
        lines.append(f"{GROUP} {how}: {overall(means):.2f} ({shown})")
    return "\n".join(lines)
