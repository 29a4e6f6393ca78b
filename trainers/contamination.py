"""Overlap of training rows with evaluation items: exact n-grams of words, MinHash near-duplicates, translation twins.

Words are lower-cased runs of letters and digits; a character of Han, Kana or Thai (written without spaces) is a word of
its own. An evaluation item of fewer than n words counts as found only if all of its words stand in a row together.
Exact: any shared 13-gram (Brown et al. 2020, App. C). Near: estimated Jaccard similarity of 5-gram sets by MinHash
(datasketch), with LSH. Twins: an item found in one language marks its translations, by the parallel row number.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import xxhash

from harness.config import ConfigError
from harness.records import sha256_file, write_atomically
from trainers.mixture_files import records_in
from trainers.sources import rows_of, whole_text

ALONE = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff"
WORDS = re.compile(rf"[{ALONE}]|[^\W_{ALONE}]+")
SHINGLE = 5
SCHEMA_VERSION = 2  # of the .json beside the table


def words_of(text: str) -> list[str]:
    """The words that are compared."""
    return WORDS.findall(text.lower())


def grams(words: Sequence[str], n: int) -> Iterator[int]:
    """64-bit digests of all runs of n words; of all words together where there are fewer."""
    for start in range(max(1, len(words) - n + 1)) if words else ():
        yield xxhash.xxh3_64_intdigest(" ".join(words[start : start + n]).encode("utf-8", "surrogatepass"))


class Overlap:
    """Evaluation items by their n-grams: which of them share one with a text."""

    def __init__(self, items: Mapping[str, str], n: int = 13):
        self.n, self.short = n, {}
        self.items_of: dict[int, list[str]] = {}
        for name, text in items.items():
            words = words_of(text)
            if 0 < len(words) < n:
                self.short.setdefault(len(words), {}).setdefault(next(grams(words, n)), []).append(name)
            else:
                for gram in grams(words, n):
                    self.items_of.setdefault(gram, []).append(name)

    @classmethod
    def of_files(cls, files: Sequence[str], n: int) -> Overlap:
        """Items from JSONL files of evaluation items: all text of a row counts."""
        return cls({name: text for file in files for name, text in items_of(Path(file))}, n)

    def found(self, text: str) -> set[str]:
        """Names of the items that share an n-gram with a text (short items: that stand in it whole)."""
        words = words_of(text)
        names = {name for gram in grams(words, self.n) for name in self.items_of.get(gram, ())}
        for n, known in self.short.items():
            if len(words) >= n:
                names |= {name for gram in grams(words, n) for name in known.get(gram, ())}
        return names

    def overlaps(self, text: str) -> bool:
        """Whether any item of n words or more shares an n-gram; short items are not held against a row."""
        return any(gram in self.items_of for gram in grams(words_of(text), self.n))


@dataclass(frozen=True)
class Contamination:
    """What was found for one item: shares an n-gram (exact), its nearest row's similarity (near), a twin was found."""

    exact: bool
    near: float
    twin: bool

    @property
    def clean(self) -> bool:
        """Whether the item is counted in clean-subset scores."""
        return not (self.exact or self.near or self.twin)


def compare(
    items: Mapping[str, str],
    rows: Iterable[str],
    *,
    n: int = 13,
    threshold: float = 0.8,
    permutations: int = 128,
    twins: Sequence[Sequence[str]] = (),
) -> dict[str, Contamination]:
    """Every item against every training row, one row in memory at a time.

    Args:
        items: name → text.
        rows: texts of the training rows.
        threshold: estimated Jaccard similarity of 5-gram sets from which a row is a near-duplicate.
        twins: groups of names that are translations of one another.
    """
    from datasketch import MinHash, MinHashLSH

    exact, near = set(), dict.fromkeys(items, 0.0)
    overlap, index = Overlap(items, n), MinHashLSH(threshold=threshold, num_perm=permutations, weights=(0.05, 0.95))
    sketches = {name: _sketch(MinHash, text, permutations) for name, text in items.items() if words_of(text)}
    for name, sketch in sketches.items():
        index.insert(name, sketch)
    for row in rows:
        exact |= overlap.found(row)
        sketch = _sketch(MinHash, row, permutations)
        for name in map(str, index.query(sketch)):
            similarity = sketches[name].jaccard(sketch)
            if similarity >= threshold:
                near[name] = max(near[name], float(similarity))
    marked = {name for name in items if name in exact or near[name]}
    related = {name for group in twins if marked & set(group) for name in group}
    return {name: Contamination(name in exact, near[name], name in related and name not in marked) for name in items}


def _sketch(kind, text: str, permutations: int):
    sketch = kind(num_perm=permutations, seed=1)
    sketch.update_batch([gram.to_bytes(8, "little") for gram in grams(words_of(text), SHINGLE)])
    return sketch


def items_of_files(paths: Sequence[Path]) -> dict[str, str]:
    """name → text of the items of several files.

    Raises:
        ConfigError: two items of different texts have one name, so one of them would be lost.
    """
    items: dict[str, str] = {}
    for path in paths:
        for name, text in items_of(path):
            if items.setdefault(name, text) != text:
                raise ConfigError(
                    f"two items are called {name}, one of them in {path}: give the files different names."
                )
    return items


def training_texts(path: Path, form: str) -> Iterator[str]:
    """The text of every training row of a mixture's folder, or of a file in one of the public formats.

    Raises:
        ConfigError: no such format or file, or a row that does not have the format's keys.
    """
    return map(whole_text, records_in(path, form))


def items_of(path: Path) -> Iterator[tuple[str, str]]:
    """(name, text) of the rows of an evaluation file in any format of `trainers.sources.rows_of`.

    The text of a record is its inputs and targets, that of any other row all its texts. Rows of lm-eval's
    samples.jsonl (which lies in a folder called after its task) are documents, named `task:doc_id`; others `file:row`.
    """
    for number, row in rows_of(path):
        if not isinstance(row, Mapping):
            raise ConfigError(f"{path}, row {number}: expected an object with texts, got {str(row)[:80]}")
        sampled = "doc_id" in row and isinstance(row.get("doc"), Mapping)
        document = row["doc"] if sampled else row
        recorded = [document[name] for name in ("inputs", "targets") if isinstance(document.get(name), str)]
        text = " ".join(recorded if len(recorded) == 2 else _texts(document))
        if text:
            yield (f"{path.parent.name}:{row['doc_id']}" if sampled else f"{path.name}:{number}"), text


def _texts(value) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _texts(part)


def write(
    found: Mapping[str, Contamination], path: Path, rows: Sequence[Path] = (), items: Sequence[Path] = ()
) -> None:
    """One line per item: name, exact, near (estimated similarity), twin, clean; so that clean subsets can be scored.

    Beside it, as .json and last, the sha256 of the table and of the files whose rows and items were compared, by their
    paths from its folder.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["item", "exact", "near", "twin", "clean"])
    for name, one in found.items():
        table.writerow([name, int(one.exact), f"{one.near:.4f}", int(one.twin), int(one.clean)])
    write_atomically(path, text.getvalue())
    files = {"table": [path], "rows": rows, "items": items}
    sealed = {part: {_from(path.parent, p): sha256_file(p) for p in paths} for part, paths in files.items()}
    record = {"schema_version": SCHEMA_VERSION, **sealed}
    write_atomically(path.with_suffix(".json"), json.dumps(record, indent=1) + "\n")


def _from(folder: Path, path: Path) -> str:
    """The way from a folder to a file, links to folders followed."""
    return Path(os.path.relpath(path.parent.resolve() / path.name, folder.resolve())).as_posix()
