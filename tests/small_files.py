"""Made-up documents in the file formats of the benchmarks and of the embedded corpus."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from harness.benchmarks import BENCHMARKS

CLASSIFICATION = ("heldin_cls", "template_cls", "language_cls", "nli", "copa", "story", "winograd")
GENERATION = ("heldin_gen", "template_gen", "language_gen", "retell", "describe")

XNLI_LINES = (
    "The cat sleeps.\tAn animal rests.\tentailment",
    "The cat sleeps.\tThe cat is grey.\tneutral",
    "The cat sleeps.\tThe cat is running.\tcontradiction",
)
XCOPA_ROWS = (
    {
        "premise": "The glass fell.",
        "choice1": "It broke.",
        "choice2": "It sang.",
        "question": "effect",
        "label": 0,
    },
    {
        "premise": "The road was wet.",
        "choice1": "It was noon.",
        "choice2": "It rained.",
        "question": "cause",
        "label": 1,
    },
)
STORY_HEADER = (
    "InputStoryid\tInputSentence1\tInputSentence2\tInputSentence3\tInputSentence4\t"
    "RandomFifthSentenceQuiz1\tRandomFifthSentenceQuiz2\tAnswerRightEnding"
)
STORY_LINES = (
    STORY_HEADER,
    "a\tAnn had a boat.\tIt leaked.\tShe found glue.\tShe mended it.\tIt flew away.\tIt floated.\t2",
    "b\tBen baked bread.\tIt rose.\tHe waited.\tIt was done.\tHe ate it.\tHe swam.\t1",
)


def winograd_line(language: str, sentence: str, tokens: list[str], span: tuple[int, int], options: list) -> str:
    """A row of the XWinograd file; `options` = [(text, is it right), ...]."""
    words = tokens[span[0] : span[1]]
    pronoun = [sentence_text(sentence, words), list(span), words]
    candidates = [[text, [0, 1], [text], right] for text, right in options]
    cells = [language, "set", "note", sentence, *(json.dumps(part) for part in (tokens, pronoun, candidates))]
    return "\t".join(cells)


def sentence_text(sentence: str, words: list[str]) -> str:
    """The words as they are written in the sentence: with or without spaces between them."""
    return " ".join(words) if " ".join(words) in sentence else "".join(words)


def winograd_lines() -> list[str]:
    """Two rows for each language, all alike."""
    tokens = ["Tom", "thanked", "Ann", "because", "she", "helped", "."]
    options = [("Tom", False), ("Ann", True)]
    line = [winograd_line(name, "Tom thanked Ann because she helped.", tokens, (4, 5), options) for name in
            BENCHMARKS["xwinograd"].languages]  # fmt: skip
    return [*line, *line]


def write_file(root: Path, name: str, lines: list[str] | tuple[str, ...], end: str = "\n") -> Path:
    """A text file below `root`, with the given line ends."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


def write_manifest(root: Path) -> None:
    """MANIFEST.tsv with every file below `root`."""
    rows = ["path\trows\tbytes\tsha256"]
    for path in sorted(root.rglob("*.*")):
        if path.is_file() and path.name != "MANIFEST.tsv":
            raw = path.read_bytes()
            name = path.relative_to(root).as_posix()
            rows.append(f"{name}\t{raw.count(10)}\t{len(raw)}\t{hashlib.sha256(raw).hexdigest()}")
    write_file(root, "MANIFEST.tsv", rows)


def write_mirror(root: Path) -> Path:
    """A mirror with a few made-up rows for every benchmark, language and split."""
    lines = {
        "xnli": XNLI_LINES,
        "xcopa": [json.dumps(row) for row in XCOPA_ROWS],
        "xstorycloze": STORY_LINES,
        "xwinograd": winograd_lines(),
    }
    for name, spec in BENCHMARKS.items():
        for language in spec.languages:
            for split in spec.splits:
                write_file(root, spec.mirror_file(language, split), lines[name])
    write_manifest(root)
    return root


def corpus_document(name: str, number: int) -> dict:
    """One evaluation document of the embedded corpus."""
    target = f"answer {number}."
    document: dict[str, Any] = {
        "inputs": f"Question {number} of {name}:",
        "targets": target,
        **{"language": "en", "task": name, "template": "t0", "split": "test", "axis": "task"},
        "id": f"{name}-{number}",
        "group": name,
    }
    if name in CLASSIFICATION:
        document["choices"] = [target, "no."] if number % 2 else ["no.", target]
        document["gold"] = 0 if number % 2 else 1
    if name == "describe":
        document["valid"] = ["another answer.", target]
    return document


def write_corpus(root: Path, items: int = 4) -> Path:
    """An embedded corpus in miniature, manifest last."""
    digests = {}
    for name in CLASSIFICATION + GENERATION:
        lines = [json.dumps(corpus_document(name, number), ensure_ascii=False) for number in range(items)]
        path = write_file(root, f"eval/{name}.jsonl", lines)
        digests[f"eval/{name}.jsonl"] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_file(root, "manifest.json", [json.dumps({"schema_version": 1, "files": digests})])
    return root
