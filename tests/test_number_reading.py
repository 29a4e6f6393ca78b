"""The number of an answer against readings by hand."""

from __future__ import annotations

import pytest

from harness.number_reading import DECIMAL_COMMA, last_integer, last_number, localized_number

RUN_AWAY = "7" * 5000  # int() refuses more than 4,300 digits


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("So it is 18.", 18.0),
        ("1,234 or 5,678", 5678.0),
        ("1,234,567.50", 1234567.5),
        ("12,34,567", 1234567.0),  # the Indian grouping, in Bengali and Telugu answers
        ("1,2,3", 3.0),  # a list
        ("1,2345", 2345.0),
        ("costs 18.00 dollars", 18.0),
        ("from 7 to -3", -3.0),
        ("from 7 to −3", -3.0),
        ("5-10", 10.0),  # a range
        ("答案是-3", -3.0),
        ("# # # 42", 42.0),
        ("١٨", 18.0),
        ("none", None),
        (RUN_AWAY, None),
    ],
)
def test_last_number(text, expected):
    assert last_number(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.080", 1080.0),
        ("1,080", 1080.0),
        ("1 080", 1080.0),
        ("1\u202f080\u202f000", 1080000.0),
        ("1.080.", 1080.0),
        ("1.234,00", 1234.0),
        ("1,234.50", 1234.5),
        ("-1.080", -1080.0),
        ("3,50 €", 3.5),
        ("18.00", 18.0),
        ("0,125", 0.125),  # no thousands begin with a nought
        ("1.0800", 1.08),
        ("2023 500", 500.0),
        ("5-10", 10.0),
        ("1, 2, 3", 3.0),
        ("none", None),
        (RUN_AWAY, None),
    ],
)
@pytest.mark.parametrize("language", sorted(DECIMAL_COMMA))
def test_numbers_where_the_comma_marks_decimals(text, expected, language):
    assert localized_number(text, language) == expected


@pytest.mark.parametrize("text", ["1.080", "1 080", "3,50", "1,2,3", "none"])
@pytest.mark.parametrize("language", ["en", "sw", "th", "zh"])
def test_elsewhere_the_point_does(text, language):
    assert localized_number(text, language) == last_number(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("18.00", 0), ("-3", 3), ("1,234", 1234), ("3,50", 350), ("a 5 b 6", 6), ("", None), (RUN_AWAY, None)],
)
def test_the_paper_s_last_integer(text, expected):
    assert last_integer(text) == expected
