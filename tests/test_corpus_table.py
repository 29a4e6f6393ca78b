"""Corpus metrics: the better writer is bold, a copy of it a tie; documents must be the same."""

import pytest

from reports.cells import TableError
from reports.corpus_table import Written, compared

REFERENCES = tuple(f"the {a} {b} the {c} in the evening" for a in ("girl", "boy", "man") for b in ("buys", "hides", "sees") for c in ("book", "lamp", "key", "bread"))  # fmt: skip


def written(*seeds: tuple[str, ...]) -> Written:
    return Written(seeds, REFERENCES, ("r",))


def broken(text: str) -> str:
    return " ".join(reversed(text.split()))


def test_the_better_writer_is_bold_and_its_copy_a_tie():
    bad = tuple(map(broken, REFERENCES))
    cells = compared({"bad": written(bad, bad), "good": written(REFERENCES, REFERENCES)}, "bleu")
    assert (cells["good"].mark, cells["bad"].mark) == ("best", "")
    assert cells["good"].value == pytest.approx(100) and (cells["bad"].value or 100) < 20
    cells = compared({"copy": written(REFERENCES), "good": written(REFERENCES), "bad": written(bad)}, "chrf")
    assert [cells[name].mark for name in ("copy", "good", "bad")] == ["tie", "tie", ""]


def test_a_win_in_one_seed_only_is_a_tie():
    bad = tuple(map(broken, REFERENCES))
    cells = compared({"a": written(REFERENCES, bad), "b": written(bad, bad)}, "bleu")
    assert {cell.mark for cell in cells.values()} == {"tie"}


def test_other_documents_are_refused():
    with pytest.raises(TableError, match="a 36, b 1"):
        compared({"a": written(REFERENCES), "b": Written((("x",),), ("x",), ())}, "bleu")
    assert compared({}, "bleu") == {}
