"""Metrics of the task suite, one dictionary of numbers per document; YAML names them as `process_results`.

Values are in 0..1 and higher is better, unless said otherwise. Corpus metrics (BLEU, chrF, TER) return pairs that
`corpus_…` turn into one number per task.
"""

from __future__ import annotations

import functools
import statistics
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from harness import languages
from harness.extraction import bag_f1, mlqa_words, squad_words, words
from harness.number_reading import last_integer, last_number, localized_number

Document = dict[str, Any]


# -- choices


def rank_classification(doc: Document, results: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    """xMTF's rank classification: the option with the largest sum of log-probabilities (the first of equals) is chosen.

    acc_norm divides by the option's characters. acc_median, acc_mean, acc_max and acc_min carry (subset, prompt, value)
    for the aggregates over prompts; n_skipped sums to the prompts that rendered to nothing
    (promptsource files) or could not be shown in another order.
    """
    sums = [logprob for logprob, _ in results]
    normed = [value / len(option) for value, option in zip(sums, doc["options"], strict=True)]
    right = float(sums.index(max(sums)) == doc["gold"])
    score = (doc["language"], doc["template"], right)
    return {
        "acc": right,
        "acc_norm": float(normed.index(max(normed)) == doc["gold"]),
        **dict.fromkeys(("acc_median", "acc_mean", "acc_max", "acc_min"), score),
        "n_skipped": doc["n_skipped"],
    }


def multiple_choice(doc: Document, results: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    """acc and acc_norm over all questions, acc_mean over subsets (subjects) of the mean over questions, n_skipped."""
    scores = rank_classification(doc, results)
    return {name: scores[name] for name in ("acc", "acc_norm", "acc_mean", "n_skipped")}


# -- answers


def token_f1(answer: str, target: str) -> float:
    """F1 over the words of two texts as they are; see `words`."""
    return bag_f1(words(answer), words(target))


def lowered_match(doc: Document, results: Sequence[str]) -> dict[str, Any]:
    """DiffusionLLM's match: the whole answer, lower-cased, equals the target; nothing is extracted from it."""
    right = float(results[0].strip().lower() == doc["targets"].strip().lower())
    return {"exact_match": right, "exact_match_mean": (doc["subset"], "", right)}


def arithmetic(doc: Document, results: Sequence[str]) -> dict[str, Any]:
    """exact_match by the last number of the answer, exact_match_localized by the language's own notation for it,
    exact_match_paper by DiffusionLLM's rule (see number_reading.py).

    The right answer itself is a plain number, or has commas between thousands, in every language's file.
    """
    answer, target, group = results[0], doc["targets"], doc.get("subset") or doc["language"]
    wanted = last_number(target)
    right = float(last_number(answer) == wanted)
    return {
        "exact_match": right,
        "exact_match_localized": float(localized_number(answer, group) == wanted),
        "exact_match_paper": float(last_integer(answer) == last_integer(target)),
        "exact_match_mean": (group, "", right),
    }


def extractive(doc: Document, results: Sequence[str]) -> dict[str, Any]:
    """Best over the right answers: exact_match and f1 by MLQA's words, exact_match_squad and f1_squad by SQuAD's (see
    extraction.py), rouge_l; then language_agreement with the passage, and language_agreement_gold, what the first right
    answer itself reaches.
    """
    answer, targets = results[0].strip(), doc["answers"]
    mlqa, *mlqa_targets = (mlqa_words(text, doc["language"]) for text in (answer, *targets))
    squad, *squad_targets = (squad_words(text) for text in (answer, *targets))
    return {
        "exact_match": float(mlqa in mlqa_targets),
        "f1": max(bag_f1(mlqa, target) for target in mlqa_targets),
        "exact_match_squad": float(squad in squad_targets),
        "f1_squad": max(bag_f1(squad, target) for target in squad_targets),
        "rouge_l": max(rouge(answer, target)["rouge_l"] for target in targets),
        **language_scores(answer, doc["context"]),
        "language_agreement_gold": languages.agreement(targets[0], doc["context"]),
    }


def language_scores(answer: str, reference: str) -> dict[str, float | None]:
    """language_agreement with a reference, None where one of both has no letters; n_unidentified counts these."""
    same = languages.agreement(answer, reference)
    return {"language_agreement": same, "n_unidentified": float(same is None)}


# -- summaries


def normalized(text: str) -> str:
    """Lower case, a space for punctuation and symbols of any script (rouge-score does so outside a-z and 0-9), NFC."""
    lowered = unicodedata.normalize("NFC", text).lower()
    kept = "".join(" " if unicodedata.category(mark)[0] in "PS" else mark for mark in lowered)
    return " ".join(kept.split())


class UnicodeTokenizer:
    """rouge-score's own tokenizer keeps a-z and 0-9 only, hence nothing of most languages; this keeps every word."""

    def tokenize(self, text: str) -> list[str]:
        """Lower-cased words without punctuation; see `words`."""
        return words(normalized(text))


@functools.cache
def _rouge_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=UnicodeTokenizer())


def rouge(answer: str, target: str) -> dict[str, float]:
    """ROUGE-1, -2 and -L F1 (rouge-score) over words of any script, without stemming."""
    scores = _rouge_scorer().score(target, answer)
    return {
        "rouge_1": scores["rouge1"].fmeasure,
        "rouge_2": scores["rouge2"].fmeasure,
        "rouge_l": scores["rougeL"].fmeasure,
    }


def summary(doc: Document, results: Sequence[str]) -> dict[str, Any]:
    """rouge_1, rouge_2, rouge_l, and rouge_l_mean over subsets (languages)."""
    scores = rouge(results[0], doc["summary"])
    return {**scores, "rouge_l_mean": (doc["language"], "", scores["rouge_l"])}


# -- translations: 0..100


def translation(doc: Document, results: Sequence[str]) -> dict[str, Any]:
    """bleu, bleu_lower (both sides lower-cased, as DiffusionLLM reports it) and chrf of the whole task."""
    pair = (results[0].strip(), doc["reference"].strip())
    return dict.fromkeys(("bleu", "bleu_lower", "bleu_lower_intl", "chrf"), pair)


def translation_under_prompts(doc: Document, results: Sequence[str]) -> dict[str, Any]:
    """bleu_median, bleu_mean, bleu_max, bleu_min over the prompts of one direction, each prompt a corpus of its own
    (xMTF's median over five); n_skipped sums to the prompts that rendered to nothing.
    """
    row = (doc["template"], results[0].strip(), doc["targets"].strip())
    return {**dict.fromkeys(("bleu_median", "bleu_mean", "bleu_max", "bleu_min"), row), "n_skipped": doc["n_skipped"]}


def bleu_over_prompts(rows: Sequence[tuple[str, str, str]], reduce: Callable[[list[float]], float]) -> float:
    """`reduce` of the prompts' sacreBLEU scores, 0..100, from rows (prompt, answer, reference)."""
    pairs: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for prompt, answer, reference in rows:
        pairs[prompt].append((answer, reference))
    return reduce([corpus_bleu(found) for found in pairs.values()])


bleu_median = functools.partial(bleu_over_prompts, reduce=statistics.median)
bleu_mean = functools.partial(bleu_over_prompts, reduce=statistics.fmean)
bleu_max = functools.partial(bleu_over_prompts, reduce=max)
bleu_min = functools.partial(bleu_over_prompts, reduce=min)


_BLEU_SETTINGS: dict[str, dict[str, Any]] = {
    "bleu": {},
    "bleu_lower": {"lowercase": True},
    "bleu_lower_intl": {"lowercase": True, "tokenize": "intl"},
}


def corpus_bleu(pairs: Sequence[tuple[str, str]], *, settings: str = "bleu") -> float:
    """sacreBLEU of (answer, reference) pairs, 0..100; its signature is `signatures([settings])`."""
    return _corpus_score(_sacrebleu_scorer(settings), pairs)


def corpus_bleu_lower(pairs: Sequence[tuple[str, str]]) -> float:
    """sacreBLEU on lower-cased text."""
    return corpus_bleu(pairs, settings="bleu_lower")


def corpus_bleu_lower_intl(pairs: Sequence[tuple[str, str]]) -> float:
    """sacreBLEU on lower-cased text with the `intl` tokenizer, DiffusionLLM's choice except for German to English."""
    return corpus_bleu(pairs, settings="bleu_lower_intl")


def corpus_chrf(pairs: Sequence[tuple[str, str]]) -> float:
    """chrF2 of (answer, reference) pairs, 0..100."""
    return _corpus_score(_sacrebleu_scorer("chrf"), pairs)


def _corpus_score(scorer: Any, pairs: Sequence[tuple[str, str]]) -> float:
    return scorer.corpus_score([a for a, _ in pairs], [[b for _, b in pairs]]).score


def _sacrebleu_scorer(name: str) -> Any:
    """A fresh scorer of a metric; lm-eval's `bleu`, `chrf` and `ter` are sacreBLEU's with its defaults, too."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.metrics.ter import TER

    other = {"chrf": CHRF, "ter": TER}
    return other[name]() if name in other else BLEU(**_BLEU_SETTINGS[name])


_SIGNED = {name: name for name in ("bleu", "bleu_lower", "bleu_lower_intl", "chrf", "ter")} | {
    f"bleu_{over}": "bleu" for over in ("median", "mean", "max", "min")
}


def signatures(names: Iterable[str]) -> dict[str, str]:
    """sacreBLEU's full signatures, with its version, of those of the metrics that it computes; references are single."""
    made = {}
    for name in names:
        if name in _SIGNED:
            scorer = _sacrebleu_scorer(_SIGNED[name])
            scorer.corpus_score(["a"], [["a"]])  # a signature knows how many references there were
            made[name] = str(scorer.get_signature())
    return made
