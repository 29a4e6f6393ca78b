"""HumanEval: completions become programs, run in the sandbox; pass@k counts those whose tests pass."""

from __future__ import annotations

from typing import Any

from lm_eval.api.filter import Filter

from harness import sandbox


def program_of(doc: dict, completion: str) -> str:
    """Prompt (stripped, as it was shown), completion, tests, and the call that runs them."""
    between = "" if completion.startswith("\n") else "\n"
    body = f"{doc['prompt'].strip()}{between}{completion}"
    return f"{body}\n\n{doc['test']}\n\ncheck({doc['entry_point']})"


class Executed(Filter):
    """Replaces each completion by what became of its program: passed, failed, timeout or killed."""

    def apply(self, resps: Any, docs: Any) -> Any:
        """lm-eval's call, once for the whole task; programs run side by side."""
        walls = sandbox.require()
        programs = [program_of(doc, texts[0]) for texts, doc in zip(resps, docs, strict=True)]
        return [outcome.reason for outcome in sandbox.run_programs(programs, walls=walls)]


def passed(doc: dict, results: list[str]) -> dict[str, Any]:
    """(problem, passed) under pass@k for each k that the number of answers allows; timeout: lower is better."""
    score = (doc["task_id"], float(results[0] == "passed"))
    allowed = [k for k in (1, 10, 100) if k <= doc["samples"]]
    return {**{f"pass@{k}": score for k in allowed}, "timeout": float(results[0] == "timeout")}
