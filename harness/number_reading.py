"""Numbers in a written answer: which one counts, and what value its notation has. Pure Python.

last_number       sign and decimals; commas separate thousands and a point decimals, in every language
localized_number  the same in the notation of the language: German, Spanish, French and Russian write 1.080,50 or 1 080,50
last_integer      DiffusionLLM's rule (scripts/metric_instruct.py): the last run of digits and commas, an integer
"""

from __future__ import annotations

import re

DECIMAL_COMMA = frozenset({"de", "es", "fr", "ru"})
LONGEST = 300  # digits: a run-away answer; more than a float holds, and Python refuses to read more than 4,300

_SIGN = r"(?:(?<!\d)[-−])?"  # a minus right behind a digit is a range (5-10) or a difference, no sign
_NUMBER = re.compile(rf"{_SIGN}(?:\d{{1,3}}(?:,\d{{2,3}})*,\d{{3}}(?!\d)|\d+)(?:\.\d+)?")  # 1,234,567 and 12,34,567
_LOCALIZED = re.compile(
    rf"{_SIGN}(?:[1-9]\d{{0,2}}([.,\u00a0\u2009\u202f ])\d{{3}}(?:\1\d{{3}})*(?!\d)(?:(?!\1)[.,]\d+)?|\d+(?:[.,]\d+)?)"
)
_PAPER_NUMBER = re.compile(r"\d+(?:,\d+)*")


def last_number(text: str) -> float | None:
    """The last number of a text, with sign and decimals, thousands separators removed; None without one."""
    found = _NUMBER.findall(text)
    return _value(found[-1].replace(",", "")) if found else None


def localized_number(text: str, language: str) -> float | None:
    """The last number in the notation of a language (ISO 639-1); None without one.

    Where the comma marks decimals, a mark (point, comma, space) before groups of exactly three digits separates
    thousands, whichever it is, and any other point or comma marks decimals: 1.080, 1,080 and 1 080 are 1080; 3,50 is 3.5.
    """
    if language not in DECIMAL_COMMA:
        return last_number(text)
    found = list(_LOCALIZED.finditer(text))
    if not found:
        return None
    number = found[-1]
    plain = number[0].replace(number[1], "") if number[1] else number[0]
    return _value(plain.replace(",", "."))


def last_integer(text: str) -> int | None:
    """DiffusionLLM's rule: it reads '18.00' as 0 and ignores signs. None without a number, or for a run-away one."""
    found = _PAPER_NUMBER.findall(text)
    digits = found[-1].replace(",", "") if found else ""
    return int(digits) if 0 < len(digits) <= LONGEST else None


def _value(number: str) -> float | None:
    return float(number.replace("−", "-")) if len(number) <= LONGEST else None
