"""Claims as tests: each has a text, its source, the evidence found and a verdict.

Verdicts: `supported` (published: in every pair; a suite: significantly), `mixed` (published: in some pairs),
`contradicted` (in none, or significantly the other way), `undecided` (the suite cannot tell), `not testable: why`.
Suite claims are paired by item and seed, their p-values Holm-corrected over all suite claims.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import yaml
from pydantic import Field, TypeAdapter, ValidationError
from scipy import stats

from harness.config import Frozen
from reports import statistics
from reports.cells import Absent, Cell, column_spread, load_scores, p_text, signed
from reports.comparisons import permutation_p
from reports.frame import Results
from reports.published import PublishedError, load_published
from reports.samples import FrameError
from reports.tables import Group, Line, Table, TableSpec

LEVEL = 0.05


class Among(Frozen):
    """Only pairs whose training data have this figure (of the same file) at least so large."""

    metric: str
    at_least: float


class Side(Frozen):
    """One side of a suite claim."""

    system: str
    evaluation: str = "main"


class OrderClaim(Frozen):
    """Published numbers where `column` is `first` against those where it is `second`, paired by other columns."""

    kind: Literal["order"]
    name: str
    text: str
    source: str
    paper: str
    where: dict[str, tuple[str, ...]]
    column: str
    first: str
    second: str
    pair_by: tuple[str, ...] = Field(min_length=1)
    among: Among | None = None


class RecomputeClaim(Frozen):
    """Published aggregates (`whole`) against the mean or median of their published parts (all other rows)."""

    kind: Literal["recompute"]
    name: str
    text: str
    source: str
    paper: str
    where: dict[str, tuple[str, ...]]
    combine: Literal["mean", "median"]
    whole: dict[str, tuple[str, ...]]
    pair_by: tuple[str, ...] = Field(min_length=1)
    tolerance: float


class SuiteClaim(Frozen):
    """`first` is better than `second` on these tasks, in this suite's runs."""

    kind: Literal["suite"]
    name: str
    text: str
    source: str
    first: Side
    second: Side
    tasks: tuple[str, ...] = Field(min_length=1)
    metric: str


Claim = OrderClaim | RecomputeClaim | SuiteClaim


@dataclass(frozen=True)
class Finding:
    """A claim's verdict, the evidence in words, p (suite claims) and the runs behind it."""

    claim: Claim
    verdict: str
    evidence: str
    p: float | None = None
    runs: tuple[str, ...] = ()


def claims_file() -> Path:
    """reports/claims.yaml."""
    return Path(__file__).resolve().parent / "claims.yaml"


def load_claims(path: Path | None = None) -> list[Claim]:
    """All claims of a file.

    Raises:
        PublishedError: the file is not a list of claims; claim and key are named.
    """
    path = path or claims_file()
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        claims = TypeAdapter(list[OrderClaim | RecomputeClaim | SuiteClaim]).validate_python(data)
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise PublishedError(f"{path} is not a list of claims: {error}") from error
    names = [claim.name for claim in claims]
    if len(set(names)) < len(names):
        raise PublishedError(f"{path}: a name is used twice; every claim needs its own.")
    return claims


def check_claims(claims: Sequence[Claim], results: Results | None) -> list[Finding]:
    """Every claim's finding; suite claims need results and get one p-value correction together."""
    found = [_finding(claim, results) for claim in claims]
    tested = [i for i, finding in enumerate(found) if finding.p is not None]
    for i, p_holm in zip(tested, statistics.holm([found[i].p or 0.0 for i in tested]), strict=True):
        found[i] = _corrected(found[i], p_holm)
    return found


def _finding(claim: Claim, results: Results | None) -> Finding:
    if isinstance(claim, OrderClaim):
        return order(claim)
    if isinstance(claim, RecomputeClaim):
        return recompute(claim)
    return _suite(claim, results)


def _where(frame: pd.DataFrame, where: Mapping[str, tuple[str, ...]]) -> pd.Series:
    keep = pd.Series(True, index=frame.index)
    for name, values in where.items():
        keep &= frame[name].isin(values)
    return keep


def order(claim: OrderClaim) -> Finding:
    """Pairs in which the first is larger; the sign test's p says how surprising that is by chance."""
    frame = load_published(claim.paper)
    chosen = pd.DataFrame(frame[_where(frame, claim.where)])
    keys = list(claim.pair_by)
    sides = {"first": claim.first, "second": claim.second}
    named = {side: pd.DataFrame(chosen[chosen[claim.column] == name]) for side, name in sides.items()}
    pairs = pd.DataFrame({side: part.set_index(keys)["value"] for side, part in named.items()}).dropna()
    if claim.among is not None:
        pairs = pd.DataFrame(pairs[[_figure(frame, key, claim.among) for key in pairs.index]])
    if pairs.empty:
        return Finding(claim, "not testable: no published pair", "")
    gaps = pairs["first"].to_numpy() - pairs["second"].to_numpy()
    wins, losses = int((gaps > 0).sum()), int((gaps < 0).sum())
    verdict = "supported" if losses == 0 and wins else "contradicted" if wins == 0 else "mixed"
    p = float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    evidence = f"{wins} of {len(pairs)} published pairs, mean difference {signed(float(gaps.mean()))} (sign test p {p_text(p)})"
    return Finding(claim, verdict, evidence)


def _figure(frame: pd.DataFrame, key: Any, among: Among) -> bool:
    """Whether the training data named last in a pair's key have a figure large enough."""
    model = str(key[-1] if isinstance(key, tuple) else key)
    data = model.rpartition(" + ")[2]
    of_data = frame["subset"].map(lambda subset: bool(subset) and data.startswith(subset))
    known = frame.loc[(frame["metric"] == among.metric) & of_data, "value"].to_numpy()
    return len(known) > 0 and float(known[0]) >= among.at_least


def recompute(claim: RecomputeClaim) -> Finding:
    """How many published aggregates equal the aggregate of their published parts."""
    frame = load_published(claim.paper)
    chosen = pd.DataFrame(frame[_where(frame, claim.where)])
    whole = _where(chosen, claim.whole)
    keys = list(claim.pair_by)
    parts = pd.DataFrame(chosen[~whole]).groupby(keys)["value"].agg(claim.combine)
    wholes = pd.DataFrame(chosen[whole]).set_index(keys)["value"]
    pairs = pd.DataFrame({"ours": parts, "published": wholes}).dropna()
    if pairs.empty:
        return Finding(claim, "not testable: no published parts", "")
    gaps = np.abs(pairs["ours"].to_numpy() - pairs["published"].to_numpy())
    equal = int((gaps <= claim.tolerance + 1e-9).sum())
    verdict = "supported" if equal == len(pairs) else "mixed" if equal else "contradicted"
    return Finding(claim, verdict, f"{equal} of {len(pairs)} within {claim.tolerance:g} (largest gap {gaps.max():.4f})")


def _suite(claim: SuiteClaim, results: Results | None) -> Finding:
    if results is None:
        return Finding(claim, "not testable: name a suite with --suite", "")
    names = {system.name for system in results.suite.systems}
    lacking = [side.system for side in (claim.first, claim.second) if side.system not in names]
    if lacking:
        return Finding(claim, f"not testable: suite {results.suite.name} has no system {lacking[0]}", "")
    sides = [
        load_scores(results, side.system, side.evaluation, claim.tasks, claim.metric, by_task=len(claim.tasks) > 1)
        for side in (claim.first, claim.second)
    ]
    first, second = sides
    if isinstance(first, Absent) or isinstance(second, Absent):
        missing = [key.folder for side in sides if isinstance(side, Absent) for key in side.missing]
        what = (
            f"run {missing[0]} is missing, `make tables SUITE={results.suite.name}` makes it"
            if missing
            else "not asked by the suite"
        )
        return Finding(claim, f"not testable: {what}", "")
    both = first.items.intersection(second.items)
    a, b = first.items.get_indexer(both), second.items.get_indexer(both)
    strata = None if first.strata is None else [first.strata[i] for i in a]
    group = Group(name="claim", label="", tasks=claim.tasks, metric=claim.metric)
    # the same checkpoints asked in two ways share their seeds: nothing of the difference is another training run's
    same = claim.first.system == claim.second.system
    spread = None if same else column_spread(results, claim.first.evaluation, group, None, strata is not None)
    got = statistics.paired_difference(first.values_IS[a], second.values_IS[b], spread, strata)
    upward = results.upward(claim.tasks, claim.metric)
    if upward is None:
        raise FrameError(f"a claim needs a better and a worse; metric '{claim.metric}' has neither.")
    sign = 1.0 if upward else -1.0
    value = 100 * sign * got.estimate.value
    difference_I = first.values_IS[a].mean(1) - second.values_IS[b].mean(1)
    p = max(got.p, permutation_p(difference_I)) if strata is None else got.p
    low, high = sorted((100 * sign * got.estimate.low, 100 * sign * got.estimate.high))
    base = "the same checkpoints" if same else f"{len(first.seeds)} seeds"
    evidence = f"{signed(value)} points [{signed(low, '')}, {signed(high, '')}] on {len(both)} items, {base}"
    verdict = "supported" if value > 0 else "contradicted"
    return Finding(claim, verdict, evidence, float(np.clip(p, 0, 1)), (*first.runs, *second.runs))


def _corrected(finding: Finding, p_holm: float) -> Finding:
    verdict = finding.verdict if p_holm <= LEVEL else "undecided"
    return replace(finding, verdict=verdict, evidence=f"{finding.evidence}, p {p_text(p_holm)} (Holm)", p=p_holm)


def claims_table(findings: Sequence[Finding]) -> Table:
    """All findings, one row each."""
    columns = {"claim": "Claim", "verdict": "Verdict", "evidence": "Evidence", "source": "Source"}
    cells: dict[tuple[str, str], Cell] = {}
    for finding in findings:
        texts = {
            "claim": finding.claim.text,
            "verdict": finding.verdict,
            "evidence": finding.evidence,
            "source": finding.claim.source,
        }
        for column, text in texts.items():
            cells[finding.claim.name, column] = Cell(text, facts={"source": finding.claim.source}, runs=finding.runs)
    spec = TableSpec(
        title="Claims",
        caption="Supported: in every published pair, or significantly in this suite (paired by item and seed, Holm over the suite's claims).",
        form="published",
        order=95,
    )
    rows = tuple(Line(finding.claim.name, (finding.claim.name,)) for finding in findings)
    return Table("claims", spec, ("Name",), rows, tuple(Line(k, (v,)) for k, v in columns.items()), cells)
