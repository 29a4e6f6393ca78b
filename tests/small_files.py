"""Made-up documents in the file formats of the benchmarks and of the embedded corpus."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

from harness.catalogue import BENCHMARKS

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
            BENCHMARKS["xwinograd"].subsets]  # fmt: skip
    return [*line, *line]


def write_file(root: Path, name: str, lines: list[str] | tuple[str, ...], end: str = "\n") -> Path:
    """A text file below `root`, with the given line ends."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = "".join(line + end for line in lines).encode()
    path.write_bytes(gzip.compress(raw, mtime=0) if path.suffix == ".gz" else raw)
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


def nli_lines(labels: tuple[str, ...], premise: str = "premise") -> list[str]:
    """One JSON line per label."""
    rows = [
        {premise: "The cat sleeps.", "hypothesis": f"It is number {n}.", "label": label}
        for n, label in enumerate(labels)
    ]
    return [json.dumps(row) for row in rows]


def json_lines(*rows: dict) -> list[str]:
    return [json.dumps(row, ensure_ascii=False) for row in rows]


COT = "canary\n-----\nDecide.\n\n" + "\n\n".join(
    f"Q: Question {n}?\nOptions:\n(A) yes\n(B) no\nA: Let's think step by step.\nIt is so. So the answer is (A)."
    for n in range(3)
)
SQUAD = {
    "data": [
        {
            "paragraphs": [
                {
                    "context": "The old mill stands in the valley near the river.",
                    "qas": [
                        {
                            "question": "Where is the mill?",
                            "id": "q1",
                            "answers": [{"answer_start": 20, "text": "in the valley near the river"}],
                        }
                    ],
                }
            ]
        }
    ]
}
HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": "def double(x):\n",
    "entry_point": "double",
    "canonical_solution": "    return 2 * x\n",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n",
}


def exemplar_lines(languages: tuple[str, ...], count: int = 8) -> list[str]:
    """MGSM's exemplars.py, made up: `count` worked examples per language, not in their order."""
    examples = {
        language: {
            str(n): {"q": f"{language}-Question: Sum {n}?", "a": f"{language}-Answer: {n} + 0 = {n}. It is {n}."}
            for n in range(count, 0, -1)
        }
        for language in languages
    }
    return ['"""Prompts."""', "OTHER = [1]", f"MGSM_EXEMPLARS = {json.dumps(examples, indent=4)}"]


SUMMARY = {"text": "A long text about a red boat on the sea.", "summary": "A red boat."}


def made_files(name: str, subset: str, split: str) -> dict[str, list[str] | tuple[str, ...]]:
    """Made-up files of one benchmark, subset and split: path below the mirror → lines."""
    spec = BENCHMARKS[name]
    path, beside = spec.mirror_file(subset, split), spec.beside(subset, split)
    if name.startswith("diffusionllm_"):
        target = (
            "B"
            if "mmlu" in name or "bbh" in name
            else "# # 18"
            if "mgsm" in name
            else "the right answer has some words"
        )
        return {
            path: json_lines(
                {"inputs": f"Question of {subset}? A:", "targets": target}, {"inputs": "And?", "targets": target}
            )
        }
    known: dict[str, Any] = {
        "xnli": XNLI_LINES,
        "xcopa": json_lines(*XCOPA_ROWS),
        "xstorycloze": STORY_LINES,
        "xwinograd": winograd_lines() if name == "xwinograd" else (),
        "rte": nli_lines(("entailment", "not_entailment")),
        "cb": nli_lines(("entailment", "contradiction", "neutral")),
        "anli": nli_lines(("e", "n", "c"), "context"),
        "winogrande": json_lines(
            {"sentence": "Tom thanked Ann as _ helped.", "option1": "Tom", "option2": "Ann", "answer": "2"}
        ),
        "mmlu": [f'"What is {n} of {subset}, say?",one,two,three,four,{"ABCD"[n % 4]}' for n in range(6)],
        "mgsm": ["Tom has 1,000 eggs and gets 8. How many?\t1,008"]
        if split == "test"
        else exemplar_lines(BENCHMARKS["mgsm"].subsets),
        "z_bench": ["Prompt,任务类型,参考回答,GPT4", '"谁是\n蝙蝠侠",`事实问答`,,蝙蝠侠'],
        "tydiqa": [json.dumps(SQUAD)],
        "humaneval": json_lines(HUMANEVAL),
        "wmt14": ["Das Haus ist sehr alt und klein.", "Der Baum ist grün und sehr hoch."],
        "gigaword": ["a long article about a boat ."],
        "gigaword_p3": json_lines({"prompt": "A text.\n\nTL;DR:\n", "completion": "A title<|endoftext|>"}),
        "xlsum": json_lines(SUMMARY),
        "mlsum": json_lines(SUMMARY),
    }
    lines: list[str] | tuple[str, ...] = known.get(name, ())
    if name.startswith("bbh"):
        lines = [
            json.dumps({"canary": "x", "examples": [{"input": "Is it?\nOptions:\n(A) yes\n(B) no", "target": "(B)"}]})
        ]
        return {path: lines, beside[0]: COT.split("\n")}
    return {name: lines for name in (path, *beside)}


def write_mirror(root: Path) -> Path:
    """A mirror with a few made-up rows for every benchmark, subset and split."""
    for name, spec in BENCHMARKS.items():
        for subset in spec.subsets:
            for split in spec.splits:
                for path, lines in made_files(name, subset, split).items():
                    write_file(root, path, lines)
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
