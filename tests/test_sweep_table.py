"""Instruction Modelling's sweeps in a report: means, errors and seeds by hand, the line's interval, files that are not there."""

from __future__ import annotations

import csv
import math
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
import synthetic_results as synthetic
from scipy import stats

from harness.suites import AnalysisPlan
from reports.cells import TableError
from reports.frame import load_results
from reports.provenance import explain
from reports.render import to_csv
from reports.sweep_figure import band, points, sweep_figure
from reports.tables import build_tables, load_specs
from trainers.analysis_tables import GainRow, SummaryRow, columns, fit_of

SPEC = {"im_sweeps": load_specs()["im_sweeps"]}
SYSTEMS = ("decoder_it", "decoder_im", "mt0")
GAINS = {(1, 0): 4.0, (1, 1): 6.0, (10, 0): 1.0, (10, 1): 3.0, (100, 0): 2.0, (100, 1): -2.0}  # (x, seed) → %


@pytest.fixture
def made(tmp_path):
    suite = synthetic.make_suite(systems=SYSTEMS).model_copy(update={"analysis": AnalysisPlan()})
    root = synthetic.write_results(tmp_path / "results" / suite.name, suite, per_language=1, speed=False)
    return suite, root, synthetic.write_groups(tmp_path / "tasks")


def write(root: Path) -> None:
    """Three IM systems, of ratio 1, 10 and 100, two seeds each; the second one's label is the suite's."""
    names = {1: "small", 10: "decoder_im", 100: "large"}
    gains, summary = [], []
    for (x, seed), gain in GAINS.items():
        it, im = f"it_{x}-{seed}", f"{names[x]}-{seed}"
        gains.append(GainRow(it, im, seed, 2000, float(x), 0.5, 0.6, 2.0, 2.0 - gain / 50, gain, 0.5 + seed / 10))
        for name, method, bleu in ((it, "it", 50.0), (im, "im", 40.0 + seed)):
            summary.append(SummaryRow(name, method, seed, 2000, float(x), "train", 9, 0.5, 0.1, 0.1, 0.4, 0.9, bleu))
            summary.append(SummaryRow(name, method, seed, 2000, float(x), "test", 9, 2.0, 0.1, 0.1, 0.4, 0.9, None))
    fit = fit_of("small_im", "im", "ratio", [row.ratio for row in gains], [row.gain for row in gains])
    fit = replace(fit, pairs=" ".join(row.im for row in gains))
    (root / "analysis").mkdir()
    for name, rows in {"gains": gains, "summary": summary, "fits": [fit]}.items():
        with open(root / "analysis" / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(columns(name))
            lines.writerows(astuple(row) for row in rows)


def table(made):
    return build_tables(load_results(*made), SPEC)["im_sweeps"]


def test_means_errors_seeds_and_slope_by_hand(made):
    write(made[1])
    got = table(made)
    assert [row.labels[1] for row in got.rows] == ["small", "Decoder IM", "large", "change per factor of ten"]
    gain = got.cells["ratio:decoder_im", "gain"]
    assert gain.value == 2.0 and gain.text == "+2.0 ± 0.6 (+1.0, +3.0)" and gain.facts["seed_values"] == "0=1.0;1=3.0"
    assert gain.facts["stderr_items"] == pytest.approx(0.55)
    assert [got.cells["ratio:decoder_im", c].text for c in ("ratio", "examples", "train_im", "test_im", "bleu_it", "bleu_im")] == [
        "10.00", "2000", "0.600", "1.960", "50.0", "40.5",
    ]  # fmt: skip
    slope = got.cells["ratio:small_im:fit", "gain"]
    # means 5, 2, 0 at log10 x = 0, 1, 2; Σ(u − ū)² = 4, residuals² sum to 2·(1/6)² + 2·(1/3)² + 2·(1/6)² + 2 + 2 + 8
    error = math.sqrt((2 * (1 / 36 + 4 / 36 + 1 / 36) + 12) / 4 / 4)
    assert slope.value == pytest.approx(-2.5) and slope.facts["stderr"] == pytest.approx(error)
    reach = stats.t.ppf(0.975, 4) * error
    assert (slope.facts["low"], slope.facts["high"]) == pytest.approx((-2.5 - reach, -2.5 + reach))
    assert got.cells["ratio:small_im:fit", "test_it"].text == "·"
    assert "gain = 4.8 − 2.5·log10(x), least squares over 6 pairs" in got.footnotes[-1]
    (made[1] / "tables").mkdir(exist_ok=True)
    (made[1] / "tables" / "im_sweeps.csv").write_text(to_csv(got))
    chain = "\n".join(map(str, explain(made[0], made[1], "im_sweeps/ratio:decoder_im/gain")))
    assert "analysis/gains.csv sha256" in chain


def test_the_figure_shows_the_tables_numbers(made):
    write(made[1])
    got = table(made)
    x, gain = points(got, got.rows[0].labels[0])
    assert dict(zip(zip(x, [0, 1] * 3, strict=True), gain, strict=True)) == GAINS
    line, reach = band(x, gain, -2.5, np.array([1.0, 10.0]))
    assert line == pytest.approx([2 + 1 / 3 + 2.5, 2 + 1 / 3])
    sure = stats.t.ppf(0.975, 4) * math.sqrt((2 * (1 / 36 + 4 / 36 + 1 / 36) + 12) / 4)
    assert reach == pytest.approx([sure * math.sqrt(1 / 6 + 1 / 4), sure * math.sqrt(1 / 6)])
    figure = sweep_figure(got, made[0])
    assert figure is not None and "−2.5 [" in figure.axes[0].get_title(loc="left")


def test_what_was_not_analysed_is_a_dash_and_what_cannot_be_read_a_sentence(made):
    suite, root, tasks = made
    got = table(made)
    assert {cell.text for cell in got.cells.values()} == {"—"} and "make tables SUITE=toy" in got.footnotes[-1]
    assert sweep_figure(got, suite) is None
    assert "im_sweeps" not in build_tables(load_results(suite.model_copy(update={"analysis": None}), root, tasks), SPEC)
    write(root)
    fits = root / "analysis" / "fits.csv"
    whole = fits.read_text()
    for text in ("", whole.replace("pairs", "other"), whole.replace("small-0", "gone-0")):
        fits.write_text(text)
        with pytest.raises(TableError, match="no readable analysis .* python -m trainers analysis"):
            table(made)
