"""Files of a local mirror, in the formats that the benchmarks were published in: strict readers.

A file is read as UTF-8, split at LF only (cells may hold U+2028 and its like), with or without CR at the
ends of lines; TSV has no quoting. Whatever does not fit ends in a `DataError` that names file, line,
what was expected and what came. The only rows left out are XWinograd's that do not make one question
with one right answer; they are counted and logged.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import logging
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

logger = logging.getLogger(__name__)
Document = dict[str, Any]

XNLI_LABELS = ("entailment", "neutral", "contradiction")
STORY_HEADER = {
    "InputStoryid": "story_id",
    **{f"InputSentence{i}": f"input_sentence_{i}" for i in (1, 2, 3, 4)},
    "RandomFifthSentenceQuiz1": "sentence_quiz1",
    "RandomFifthSentenceQuiz2": "sentence_quiz2",
    "AnswerRightEnding": "answer_right_ending",
}
WINOGRAD_COLUMNS = ("language", "set", "note", "sentence", "tokens", "pronoun", "candidates")


class DataError(RuntimeError):
    """Documents cannot be had. One sentence: what was expected, what came, what to do."""


def digest(path: Path) -> str:
    """sha256 of a file, as hexadecimal digits; DataError if it cannot be read."""
    return hashlib.sha256(_bytes(path)).hexdigest()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.") from error


def lines_of(path: Path) -> list[str]:
    """The lines of a UTF-8 file (unpacked if its name ends in .gz), split at LF only, without a CR at the end.

    Raises:
        DataError: another encoding, or a damaged gzip file.
    """
    raw = _bytes(path)
    if path.suffix == ".gz":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: not a whole gzip file ({error}); copy it again.") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: expected UTF-8, got byte 0x{raw[error.start]:02x}.") from error
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def manifest(root: Path) -> dict[str, str]:
    """Path → sha256 of the files that the mirror's own MANIFEST.tsv lists; empty where there is none.

    It may be written by hand: `./` before a path, digests in capitals, blanks at the ends of cells and empty lines do not matter.
    """
    path = root / "MANIFEST.tsv"
    if not path.is_file():
        return {}
    header, *rows = [line.split("\t") for line in lines_of(path) if line.strip()] or [[]]
    if not {"path", "sha256"} <= set(header):
        raise DataError(f"{path}, line 1: expected columns path, rows, bytes, sha256; got {', '.join(header)}.")
    name, digest = header.index("path"), header.index("sha256")
    for number, row in enumerate(rows, start=2):
        cells_of("\t".join(row), tuple(header), path, number)
    return {PurePosixPath(row[name].strip()).as_posix(): row[digest].strip().lower() for row in rows}


class OfficialFile(NamedTuple):
    """A file as its authors published it: size in bytes and sha256."""

    size: int
    sha256: str


@functools.cache
def official_files() -> dict[str, OfficialFile]:
    """Path below a mirror → the official file; for the benchmarks whose files could be had whole (checksums.tsv)."""
    rows = [line.split("\t") for line in lines_of(Path(__file__).with_name("checksums.tsv"))]
    return {path: OfficialFile(int(size), sha256) for path, size, sha256 in rows[1:]}


class Held(NamedTuple):
    """One file of a mirror beside what is known of it; `fault` is the sentence about a `changed` one.

    `state` is `ok` (the listed or official digest), `subset` (listed, but not the official file), `unlisted` (neither
    listed nor official: no digest to hold it against), `changed` (another digest than listed, or than its authors' where
    it is not listed) or `missing`.
    """

    state: str
    fault: str = ""


def held(root: Path, name: str, listing: Mapping[str, str]) -> Held:
    """The file `name` of the mirror `root`, held against its `manifest` (`listing`) or, where that does not list it, against
    the official digest, whatever its size."""
    path, listed, official = root / name, listing.get(name), official_files().get(name)
    if not path.is_file():
        return Held("missing")
    raw = _bytes(path)
    found = hashlib.sha256(raw).hexdigest()
    if listed is not None:
        if listed != found:
            fault = f"{path} is not the file that {root / 'MANIFEST.tsv'} lists (other sha256): copy it again."
            return Held("changed", fault)
        return Held("ok" if official is None or official.sha256 == found else "subset")
    if official is None:
        return Held("unlisted")
    return Held("ok") if official.sha256 == found else Held("changed", _not_official(root, name, raw, official))


def _not_official(root: Path, name: str, raw: bytes, official: OfficialFile) -> str:
    """What an unlisted file should be, what it is, and what to do."""
    found = hashlib.sha256(raw).hexdigest()
    same = any(hashlib.sha256(text).hexdigest() == official.sha256 for text in _with_other_line_ends(raw))
    return (
        f"{root / name} is not its authors' file: expected {official.size} bytes with sha256 {official.sha256[:12]}…, got "
        f"{len(raw)} with {found[:12]}… ({'only the line ends differ' if same else 'truncated, re-ordered or edited'}). Copy "
        f"it again, or list a deliberate subset in {root / 'MANIFEST.tsv'} (path, rows, bytes, sha256)."
    )


def _with_other_line_ends(raw: bytes) -> Iterator[bytes]:
    """The bytes with LF, with CRLF, and with CRLF but where a quotation is open (a CSV's cells keep their own line ends),
    each with and without an end of the last line."""
    unix = raw.replace(b"\r\n", b"\n").removesuffix(b"\n")
    parts = unix.split(b'"')
    rows = b'"'.join(part if index % 2 else part.replace(b"\n", b"\r\n") for index, part in enumerate(parts))
    for text, end in ((unix, b"\n"), (unix.replace(b"\n", b"\r\n"), b"\r\n"), (rows, b"\r\n")):
        yield from (text, text + end)


def cells_of(line: str, columns: tuple[str, ...], path: Path, number: int) -> list[str]:
    """The cells of a TSV line without quoting; DataError if there are not as many as `columns`."""
    cells = line.split("\t")
    if len(cells) != len(columns):
        raise DataError(
            f"{path}, line {number}: expected {len(columns)} columns ({', '.join(columns)}), got {len(cells)} "
            "(truncated, or another format?)."
        )
    return cells


def json_object(line: str, path: Path, number: int) -> Document:
    """One line of a JSONL file; DataError if it is not a JSON object."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {number}: expected a JSON object, got {line[:60]!r} (truncated?).") from error
    if not isinstance(row, dict):
        raise DataError(f"{path}, line {number}: expected a JSON object, got {type(row).__name__}.")
    return row


def parse_xnli(lines: list[str], path: Path, language: str) -> Iterator[Document]:
    """No header; premise, hypothesis, label; the label becomes its index in XNLI_LABELS, as on the hub."""
    if lines and lines[0].count("\t") == 1:
        raise DataError(f"{path}, line 1: two columns: these are unlabelled test rows, which cannot be scored.")
    for number, line in enumerate(lines, start=1):
        premise, hypothesis, label = cells_of(line, ("premise", "hypothesis", "label"), path, number)
        if label not in XNLI_LABELS:
            raise DataError(f"{path}, line {number}: label should be one of {', '.join(XNLI_LABELS)}, got {label!r}.")
        yield {"premise": premise, "hypothesis": hypothesis, "label": XNLI_LABELS.index(label)}


def parse_xcopa(lines: list[str], path: Path, language: str) -> Iterator[Document]:
    """One JSON object a line, with the hub's own column names."""
    return (json_object(line, path, number) for number, line in enumerate(lines, start=1))


def parse_xstorycloze(lines: list[str], path: Path, language: str) -> Iterator[Document]:
    """Columns under the header of the Story Cloze Test, renamed as on the hub."""
    header = cells_of(lines[0] if lines else "", tuple(STORY_HEADER), path, 1)
    if set(header) != set(STORY_HEADER):
        raise DataError(f"{path}, line 1: expected the header {', '.join(STORY_HEADER)}; got {', '.join(header)}.")
    for number, line in enumerate(lines[1:], start=2):
        row = dict(zip(header, cells_of(line, tuple(header), path, number), strict=True))
        document: Document = {column: row[name] for name, column in STORY_HEADER.items()}
        answer = document["answer_right_ending"]
        document["answer_right_ending"] = int(answer) if answer in ("1", "2") else answer
        yield document


def parse_xwinograd(lines: list[str], path: Path, language: str) -> Iterator[Document]:
    """The rows of `language`; a row that does not make one question is left out, counted and logged."""
    skipped: Counter[str] = Counter()
    for number, line in enumerate(lines, start=1):
        row = dict(zip(WINOGRAD_COLUMNS, cells_of(line, WINOGRAD_COLUMNS, path, number), strict=True))
        if row["language"] != language:
            continue
        try:
            tokens, pronoun, candidates = (json.loads(row[name]) for name in WINOGRAD_COLUMNS[4:])
            yield winograd_document(row["sentence"], tokens, pronoun, candidates)
        except Unusable as error:
            skipped[str(error)] += 1
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise DataError(
                f"{path}, line {number}: expected JSON lists tokens, pronoun [text, span, tokens] and "
                f"candidates [[text, span, tokens, is right], ...]; got ...{line[-40:]!r}."
            ) from error
    for reason, count in skipped.items():
        logger.warning("XWinograd (%s): %d rows of %s left out: %s.", language, count, path, reason)


class Unusable(ValueError):
    """A row that cannot become a question with one blank and one right answer of two."""


def winograd_document(sentence: str, tokens: list[str], pronoun: list, candidates: list) -> Document:
    """A row as on the hub: `_` for the pronoun, candidates as option1 and option2, answer "1" or "2"."""
    right = [index for index, candidate in enumerate(candidates, start=1) if candidate[3] is True]
    if len(candidates) != 2 or len(right) != 1:
        raise Unusable("not exactly one right candidate of two")
    if "_" in sentence:
        raise Unusable("the sentence has an underscore of its own")
    text, (first, end) = pronoun[0], pronoun[1]
    spans = token_spans(sentence, tokens)
    start, stop = spans[first][0], spans[end - 1][1]
    if sentence[start:stop] != text:
        raise Unusable("the pronoun is not at its token span")
    option1, option2 = (candidate[0].strip() for candidate in candidates)
    blanked = f"{sentence[:start]}_{sentence[stop:]}"
    return {"sentence": blanked, "option1": option1, "option2": option2, "answer": str(right[0])}


def token_spans(sentence: str, tokens: list[str]) -> list[tuple[int, int]]:
    """Character spans [start, stop) of tokens whose tokeniser wrote a quotation mark as `` or ''."""
    spans, at = [], 0
    for token in tokens:
        while at < len(sentence) and sentence[at].isspace():
            at += 1
        text = '"' if token in ("``", "''") and not sentence.startswith(token, at) else token
        if not sentence.startswith(text, at):
            raise Unusable("the tokens do not spell the sentence")
        spans.append((at, at + len(text)))
        at += len(text)
    return spans
