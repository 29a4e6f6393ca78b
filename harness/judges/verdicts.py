"""Reading a verdict: the judge's own statement, never a mark that it only quotes from the text it grades.

fschat takes the first `[[…]]` of a judgment, also one that the judge cites from an answer such as "Rating: [[10]]".
Here:

1. Marks in quotation marks, code, block quotes and fences are citations and do not count.
2. If the other marks agree, that is the verdict.
3. If they disagree, only statements count, without lines that stand word for word in the graded text: lines that are
   nothing but a statement ("Rating: [[3]]", "[[3]]"), else statements inside of lines; if these agree, that is the verdict.
4. Anything else is malformed: no verdict, to be counted, never a number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

NUMBER = r"(\d+(?:\.\d+)?)"
STATEMENT = r"(?:rating|score|verdict|evaluation|judge?ment|评分|得分|分数|结论|判断)"
_CITATIONS = (
    re.compile(r"```.*?(?:```|\Z)", re.DOTALL),
    re.compile(r"^[ \t]*>.*$", re.MULTILINE),
    re.compile(r"`[^`\n]*`"),
    re.compile(r'"[^"\n]*"'),
    re.compile(r"“[^”]*”|「[^」]*」|『[^』]*』|«[^»]*»"),
)


def read_rating(judgment: str, graded: Sequence[str] = (), lowest: float = 1, highest: float = 10) -> float | None:
    """The rating `[[number]]` of a judgment, or None (malformed, or outside lowest … highest).

    graded: the texts that were graded; a line copied from them is no statement of the judge.
    """
    found = _read(judgment, rf"\[\[\s*{NUMBER}\s*\]\]", graded)
    if found is None and "[[" not in judgment:
        found = _statement(_uncited(judgment), rf"\[\s*{NUMBER}\s*\]", graded, alone=False)  # "Rating: [7]"
    if found is None:
        return None
    value = float(found)
    return (int(value) if value.is_integer() else value) if lowest <= value <= highest else None


def read_choice(judgment: str, options: Sequence[str], graded: Sequence[str] = ()) -> str | None:
    """The option in double brackets that a judgment settles on (`[[A]]`), or None (malformed)."""
    return _read(judgment, rf"\[\[\s*({'|'.join(map(re.escape, options))})\s*\]\]", graded)


def _read(judgment: str, mark: str, graded: Sequence[str]) -> str | None:
    text = _uncited(judgment)
    values = set(re.findall(mark, text))
    if len(values) == 1:
        return values.pop()
    if values:
        return _statement(text, mark, graded)
    return _whole_citation(judgment, mark)


def _uncited(judgment: str) -> str:
    for citation in _CITATIONS:
        judgment = citation.sub(" ", judgment)
    return judgment


def _statement(text: str, mark: str, graded: Sequence[str], alone: bool = True) -> str | None:
    """The value on which all statements agree, or None."""
    copied = {" ".join(line.split()) for one in graded for line in one.splitlines()}
    lines = [line for line in text.splitlines() if " ".join(line.split()) not in copied]
    stated = rf"{STATEMENT}\W{{0,12}}(?:is|of|为|是)?\W{{0,12}}?{mark}"
    whole = re.compile(
        rf"(?:(?:my|the|final|overall)\W+)*{stated}\W*|\W*{mark}\W*" if alone else rf"{stated}\W*", re.IGNORECASE
    )
    for values in (
        {next(filter(None, m.groups())) for line in lines if (m := whole.fullmatch(line.strip(" *#\t")))},
        {match for line in lines for match in re.findall(stated, line, re.IGNORECASE)},
    ):
        if values:
            return values.pop() if len(values) == 1 else None
    return None


def _whole_citation(judgment: str, mark: str) -> str | None:
    """A verdict that is itself set in quotes or code and stands last: "[[A]]" as a line of its own."""
    lines = [line for line in judgment.splitlines() if line.strip()]
    if not lines:
        return None
    match = re.fullmatch(rf"(?:{STATEMENT}|final|my|the|is|\W)*?{mark}\W*", lines[-1].strip(), re.IGNORECASE)
    return match.group(1) if match else None
