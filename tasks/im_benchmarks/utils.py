"""CoQA: the conversation so far as the prompt; exact match and F1 against every annotator but one, in turn."""

from __future__ import annotations

import statistics

from harness.extraction import bag_f1, squad_words


def conversation(doc: dict) -> str:
    """The story, then questions and answers in turn; the last question has no answer yet."""
    asked, said = doc["questions"]["input_text"], doc["answers"]["input_text"]
    turns = [f"Q: {question}\n\nA: {answer}" for question, answer in zip(asked[:-1], said, strict=False)]
    return "\n\n".join([doc["story"], *turns, f"Q: {asked[-1]}\n\nA:"])


def answers(doc: dict) -> list[str]:
    """The last turn's answers, the first annotator's first, without repetitions (of another case: the first spelling stays)."""
    others = [annotator["input_text"] for annotator in (doc.get("additional_answers") or {}).values()]
    found = [given[len(doc["questions"]["input_text"]) - 1] for given in (doc["answers"]["input_text"], *others)]
    first: dict[str, str] = {}
    for answer in found:
        first.setdefault(answer.lower(), answer)
    return list(first.values())


def word_f1(answer: str, right: str) -> float:
    """F1 over the bags of words; two empty texts agree."""
    given, wanted = squad_words(answer), squad_words(right)
    return bag_f1(given, wanted) if given and wanted else float(given == wanted)


def answered(doc: dict, results: list[str]) -> dict[str, float]:
    """em and f1: the best over the annotators that remain when one is left out, mean over whom is left out."""
    right, answer = answers(doc), results[0].strip().split("\n")[0]
    rounds = [right[:left] + right[left + 1 :] for left in range(len(right))] if len(right) > 1 else [right]
    exact = [max(float(squad_words(answer) == squad_words(one)) for one in rest) for rest in rounds]
    overlap = [max(word_f1(answer, one) for one in rest) for rest in rounds]
    return {"em": statistics.fmean(exact), "f1": statistics.fmean(overlap)}
