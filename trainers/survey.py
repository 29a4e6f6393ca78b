"""What becomes of every row of a mixture's sources: what one pass notes of each, and the decisions taken from it.

A row is 23 bytes here, 8 more for validation: a digest and what caps, shares and guards need. `decide` says which rows are
kept, how often, and why the others are not. Rules, in this order: held-out data sets and tasks; rows without text; rows that
share text with evaluation items; exact duplicates; caps per (data set, config, split, template); validation by document;
shares that keep the composition.
"""

from __future__ import annotations

from array import array

import numpy as np
import xxhash

from trainers.composition import copies, rank_in_group, repeats, shuffled_keys
from trainers.recipe import MixtureSpec
from trainers.sources import Record, whole_text, word_ratio

OUTCOMES = ("kept", "validation", "held out", "no text", "shares text with evaluation", "duplicate", "cap", "share")
KEPT, VALIDATION, HELD_OUT, NO_TEXT, OVERLAP, DUPLICATE, CAP, SHARE = range(len(OUTCOMES))


class _Names:
    """Small numbers for tuples of names, in order of appearance."""

    def __init__(self):
        self.number: dict[tuple[str, ...], int] = {}

    def __call__(self, key: tuple[str, ...]) -> int:
        return self.number.setdefault(key, len(self.number))


class Survey:
    """The first pass: for each row, what the decisions need."""

    def __init__(self, spec: MixtureSpec, guard):
        self.spec, self.guard = spec, guard
        self.digest, self.document = array("Q"), array("Q")
        self.stratum, self.group, self.size, self.source = array("I"), array("I"), array("I"), array("H")
        self.outcome, self.distance = array("B"), array("f")
        self.ratios = any(source.nearest_ratio is not None for source in spec.sources)
        self.strata, self.groups = _Names(), _Names()
        self.held_out = {name.lower() for name in spec.held_out}

    def add(self, source: int, record: Record) -> None:
        self.source.append(source)
        text = text_of(record)
        digest = xxhash.xxh3_64_intdigest(text)
        self.digest.append(digest)
        self.size.append(len(text))
        if self.spec.validation:
            document = record.get("document") or record["inputs"]
            self.document.append(xxhash.xxh3_64_intdigest(document.encode("utf-8", "surrogatepass")))
        get = record.get
        name = self.spec.sources[source].name
        self.stratum.append(
            self.strata((get("language") or "", get("task") or get("dataset") or "", get("template") or "", name))
        )
        self.group.append(
            self.groups((get("dataset") or "", get("config") or "", get("split") or "", get("template") or ""))
        )
        self.outcome.append(self._first(record))
        if self.ratios:
            wanted = self.spec.sources[source].nearest_ratio
            self.distance.append(abs(word_ratio(record) - wanted) if wanted is not None else 0.0)

    def _first(self, record: Record) -> int:
        if self.held_out and any(held(str(record.get(key) or ""), self.held_out) for key in ("dataset", "task")):
            return HELD_OUT
        if not record["inputs"].strip() or not record["targets"].strip():
            return NO_TEXT
        if self.guard is not None and self.guard.overlaps(whole_text(record)):
            return OVERLAP
        return KEPT


def held(name: str, held_out: set[str]) -> bool:
    """Whether a data set's or task's name is a held-out one, or one with a suffix (xnli_en, super_glue/rte)."""
    name = name.lower()
    parts = {name, name.split("_")[0], name.split("/")[-1], name.rsplit("_", 1)[0]}
    return bool(parts & held_out)


def text_of(record: Record) -> bytes:
    """What makes two records the same: all of their text, parts kept apart."""
    parts = (record["inputs"], record.get("context") or "", record["targets"])
    text = "\x1f".join(parts)
    if history := record.get("history"):
        text += "\x1e" + "\x1e".join("\x1f".join(pair) for pair in history)
    return text.encode("utf-8", "surrogatepass")


def decide(survey: Survey) -> tuple[np.ndarray, np.ndarray]:
    """(outcome [N], copies [N]) for every surveyed row; what the survey needs no longer leaves it on the way."""
    spec = survey.spec
    outcome = np.frombuffer(survey.outcome, dtype=np.uint8).copy()
    digest = np.frombuffer(survey.digest, dtype=np.uint64)
    if spec.dedupe:
        open_ = _open(outcome)
        outcome[open_[repeats(digest[open_])]] = DUPLICATE
    key = shuffled_keys(digest, spec.seed)
    source = np.frombuffer(survey.source, dtype=np.uint16)
    for number, one in enumerate(spec.sources):
        if one.nearest_ratio is not None:
            open_ = np.flatnonzero((outcome == KEPT) & (source == number))
            distance = np.frombuffer(survey.distance, dtype=np.float32)[open_]
            outcome[open_[rank_in_group(np.zeros(len(open_), dtype=int), distance) >= one.limit]] = CAP
    if spec.cap is not None:
        _cap(survey, outcome, key)
    survey.group, survey.size = array("I"), array("I")
    if spec.validation:
        share = shuffled_keys(np.frombuffer(survey.document, dtype=np.uint64), spec.seed + 1) / 2.0**64
        outcome[(outcome == KEPT) & (share < spec.validation)] = VALIDATION
        del share
        survey.document = array("Q")
    taken = np.zeros(len(outcome), dtype=np.uint16)
    taken[outcome == VALIDATION] = 1
    open_ = _open(outcome)
    stratum = np.frombuffer(survey.stratum, dtype=np.uint32)[open_]
    weight = _weights(spec, source[open_])
    rows = spec.records if spec.share is None else round(spec.share * float(weight.sum()))
    key = key[open_]
    taken[open_] = copies(stratum, key, weight, list(survey.strata.number), rows)
    outcome[open_[taken[open_] == 0]] = SHARE
    return outcome, taken


def _open(outcome: np.ndarray) -> np.ndarray:
    """The rows kept so far, four bytes each."""
    return np.flatnonzero(outcome == KEPT).astype(np.uint32)


def _cap(survey: Survey, outcome: np.ndarray, key: np.ndarray) -> None:
    """Bar the rows beyond the cap of their group, in the order asked for."""
    spec, open_ = survey.spec, _open(outcome)
    by = {"random": key, "shortest": np.frombuffer(survey.size, dtype=np.uint32)}
    order = by[spec.cap_order][open_] if spec.cap_order in by else open_
    group = np.frombuffer(survey.group, dtype=np.uint32)[open_]
    outcome[open_[rank_in_group(group, order) >= spec.cap]] = CAP


def _weights(spec: MixtureSpec, source_N: np.ndarray) -> np.ndarray:
    """Each row's weight: its source's, or what gives its source the portion asked for."""
    if spec.sources[0].portion is None:
        return np.array([source.weight for source in spec.sources], dtype=np.float32)[source_N]
    portion = np.array([source.portion for source in spec.sources])
    count = np.bincount(source_N, minlength=len(portion))
    return (portion / portion[count > 0].sum() * len(source_N) / np.maximum(count, 1))[source_N]
