"""The language of a text, by py3langid. A word or two tell little: what a right answer reaches is measured beside it.

language_of   the likeliest of the languages of a benchmark; None for a text without letters ('', '5', '…')
first_guess   the likeliest of all it knows, for any text: DiffusionLLM's script takes its identifier's (fastText) so
"""

from __future__ import annotations

import functools
from typing import Any

TYDIQA_CODES = {  # name in DiffusionLLM's files → ISO 639-1
    "arabic": "ar", "bengali": "bn", "english": "en", "finnish": "fi", "indonesian": "id", "japanese": "ja",
    "korean": "ko", "russian": "ru", "swahili": "sw", "telugu": "te", "thai": "th",
}  # fmt: skip
TYDIQA = tuple(TYDIQA_CODES.values())


@functools.cache
def _identifier(among: tuple[str, ...] | None) -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    made = LanguageIdentifier.from_model_file(MODEL_FILE)  # one of our own: the module's is shared by all
    made.set_languages(among)
    return made


def first_guess(text: str) -> str:
    """ISO 639-1 code of the likeliest language, whatever the text; all texts without features get the same one."""
    return str(_identifier(None).classify(text)[0])


def language_of(text: str, among: tuple[str, ...]) -> str | None:
    """ISO 639-1 code of the likeliest of the languages `among`; None for a text without letters."""
    return str(_identifier(among).classify(text)[0]) if any(mark.isalpha() for mark in text) else None


def agreement(text: str, reference: str, among: tuple[str, ...] = TYDIQA) -> float | None:
    """Whether both are in the same language, 0 or 1; None where one of them has no letters."""
    said, wanted = language_of(text, among), language_of(reference, among)
    return None if said is None or wanted is None else float(said == wanted)
