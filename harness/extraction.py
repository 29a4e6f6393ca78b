"""Words of an extracted answer, as exact match and F1 compare them: lower case, without punctuation and articles.

    mlqa_words   MLQA's rule as lm-eval 0.4.13 applies it to TyDiQA: punctuation of every script, the language's articles
    squad_words  SQuAD 1.1's, which TyDiQA's authors evaluate GoldP with: ASCII punctuation, English articles, in all languages

Both delete punctuation (U.S. is US; 1,500 is 1500) and ASCII's symbols with it ($5 is 5, but €5 is not).
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

# Scripts that are written without spaces between words: Han, Hiragana, Katakana, Thai, Lao, Khmer, Myanmar.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f"
_CLUSTER = re.compile(rf"([{_UNSPACED}])")
_UNSPACED_LANGUAGES = frozenset({"ja", "th", "zh"})
_ARTICLES = {"en": re.compile(r"\b(?:a|an|the)\b"), "ar": re.compile(r"(?:^|\s)ال")}
_ASCII_PUNCTUATION = frozenset(string.punctuation)


def words(text: str) -> list[str]:
    """Words between white space; each character of a script that is written without spaces is a word."""
    return _CLUSTER.sub(r" \1 ", text).split()


def mlqa_words(text: str, language: str) -> list[str]:
    """The words that count in a language (ISO 639-1). NFC first, so that two spellings of a character are one.

    Japanese, Thai and Chinese answers are taken character by character, as MLQA takes Chinese ones.
    """
    lowered = unicodedata.normalize("NFC", text).lower()
    kept = "".join(mark for mark in lowered if mark not in _ASCII_PUNCTUATION and unicodedata.category(mark)[0] != "P")
    if language in _ARTICLES:
        kept = _ARTICLES[language].sub(" ", kept)
    return words(kept) if language in _UNSPACED_LANGUAGES else kept.split()


def squad_words(text: str) -> list[str]:
    """The words that count for SQuAD 1.1's script."""
    kept = "".join(mark for mark in text.lower() if mark not in _ASCII_PUNCTUATION)
    return _ARTICLES["en"].sub(" ", kept).split()


def bag_f1(answer: Sequence[str], target: Sequence[str]) -> float:
    """Harmonic mean of precision and recall over the words as bags, 0..1."""
    given, wanted = Counter(answer), Counter(target)
    shared = (given & wanted).total()
    return 2 * shared / (given.total() + wanted.total()) if shared else 0.0
