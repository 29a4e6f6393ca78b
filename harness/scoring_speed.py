"""Scoring: rows, time and error of the any-order estimate against the published way of estimating the same bound.

Same network, same machine, same run. *Published*: one request after the other, `draws` draws in batches of 32, every
position projected to the vocabulary (LLaDA's released harness, also dLLM's and Fast-dLLM's; its greedy check is left
out, which favours it). *Ours*: all requests in one queue. Errors are against a reference with `reference_rows` rows
(exact up to 12 tokens at 4096), in nats: root mean square over requests and seeds; a flip is a question whose best
choice is not the reference's. Lower is better for all but `speedup`, `fewer_rows` and `forward_share`.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_eval.api.instance import Instance

from harness.config import ConfigError
from harness.evaluate import load_of_suite, use_embedded_corpus
from harness.progress import bar
from harness.records import write_atomically
from harness.registration import task_manager
from harness.rows import RowEngine
from harness.scorers import Item, make_scorer
from harness.scorers.compat import DRAWS_TOGETHER, llada_masks
from harness.scorers.estimator import questions
from harness.scorers.masks import key_of
from harness.scorers.queue import score_all
from harness.scoring_memory import measure as measure_memory
from harness.speed import Clock, device_name, wait
from harness.suites import ScoringGroup, ScoringPlan, Suite

COLUMNS = (
    "suite", "group", "label", "method", "system", "questions", "requests", "tokens_min", "tokens_max",
    "rows_per_request", "seconds", "rmse", "stderr_rms", "reference_stderr_rms", "flips_per_question",
    "fewer_rows", "speedup", "forward_share", "device",
)  # fmt: skip
STOCK_TURNS = 4  # comparisons with stock hf per seed: both are quick, and their difference is small
EXCHANGED = 3  # wrong choices made of a reference


def measure_scoring(suite: Suite, results: Path) -> str:
    """Measure `suite.scoring`; writes results/<suite>/speed/scoring.{csv,json} and returns the CSV.

    Raises:
        ConfigError: the suite has no scoring section.
    """
    plan = suite.scoring
    if plan is None:
        raise ConfigError(f"suite {suite.name} has no scoring section: nothing to measure.")
    root = results / suite.name
    use_embedded_corpus(suite, root)
    model = load_of_suite(suite, root, plan.system)
    model.configure(length_term=False)
    rows, asked = [], []
    for group in bar(plan.groups, what=f"scoring {suite.name}", unit="groups"):
        requests = group_requests(group, model)
        asked += requests
        items = model.encoder.pairs(requests)
        facts = {"suite": suite.name, "group": group.name, "label": group.label, "system": plan.system}
        rows += [{**facts, **row, "device": device_name()} for row in _group(model, plan, items)]
    more: dict[str, Any] = {"memory": measure_memory(*plan.memory)}
    if plan.autoregressive:
        more["autoregressive"] = against_stock(
            load_of_suite(suite, root, plan.autoregressive), asked, STOCK_TURNS * plan.seeds
        )
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    record = {"plan": plan.model_dump(), "rows": rows, **more}
    write_atomically(root / "speed" / "scoring.json", json.dumps(record, indent=1) + "\n")
    write_atomically(root / "speed" / "scoring.csv", text.getvalue())
    return text.getvalue() + json.dumps(more, indent=1) + "\n"


def group_requests(group: ScoringGroup, model) -> list[Instance]:
    """Requests of the group's first questions, the same number of each task, whose targets all have the right length."""
    manager, requests = task_manager(group.tasks), []
    for name in group.tasks:
        task, kept = manager.load(name)["tasks"][name], 0
        for number, doc in enumerate(task.test_docs()):
            if kept == -(-group.questions // len(group.tasks)):
                break
            context = task.doc_to_text(doc)
            made = [
                Instance("loglikelihood", doc, (context, choice), index, (name, number, 1))
                for index, choice in enumerate(_choices(task, doc, number))
            ]
            lengths = [len(item.target) for item in model.encoder.pairs(made)]
            if len(made) > 1 and group.min_tokens <= min(lengths) <= max(lengths) <= group.max_tokens:
                requests += made
                kept += 1
    if not requests:
        raise ConfigError(f"scoring.groups.{group.name}: no question of {', '.join(group.tasks)} has such targets.")
    return requests


def _choices(task, doc: dict, number: int) -> list[str]:
    """A document's choices, or its reference and copies with two words exchanged."""
    delimiter = task.config.target_delimiter
    if task.OUTPUT_TYPE == "multiple_choice":
        return [delimiter + choice for choice in task.doc_to_choice(doc)]
    words, rng = task.doc_to_target(doc).split(" "), np.random.default_rng(number)
    made = [words]
    while len(words) > 3 and len(made) <= EXCHANGED:
        a, b = rng.choice(len(words), 2, replace=False)
        copy = list(words)
        copy[a], copy[b] = copy[b], copy[a]
        made.append(copy)
    return [delimiter + " ".join(copy) for copy in made]


def _group(model, plan: ScoringPlan, items: Sequence[Item]) -> list[dict[str, Any]]:
    """One line per method; `seconds` is the median over seeds, methods taking turns."""
    exact = score_all(make_scorer("any_order", rows=plan.reference_rows, seed=-1), items, RowEngine(model.backbone))
    truth_I = np.array([score.logprob for score in exact])
    methods: dict[str, Callable[[int], Run]] = {
        f"ours_{rows}": functools.partial(run_ours, model.backbone, items, rows) for rows in plan.rows
    }
    methods["published"] = functools.partial(run_published, model.backbone, items, plan.draws)
    runs: dict[str, list[Run]] = {name: [] for name in methods}
    for seed in range(plan.seeds):
        for name, method in methods.items():
            runs[name].append(method(seed))
    base = runs["published"]
    lengths = [len(item.target) for item in items]
    known = {
        "questions": len(questions(items)),
        "requests": len(items),
        "tokens_min": min(lengths),
        "tokens_max": max(lengths),
        "reference_stderr_rms": round(_rms([score.stderr for score in exact]), 6),
    }
    return [{"method": name, **known, **_line(done, base, items, truth_I)} for name, done in runs.items()]


class Run:
    """One pass of a method over all items: scores, standard errors, rows computed, seconds, share of it in the network."""

    def __init__(self, scores_I, stderr_I, rows: int, seconds: float, forward: float):
        self.scores_I, self.stderr_I, self.rows = np.asarray(scores_I), np.asarray(stderr_I), rows
        self.seconds, self.forward_share = seconds, forward / seconds


def _line(done: Sequence[Run], base: Sequence[Run], items: Sequence[Item], truth_I: np.ndarray) -> dict[str, Any]:
    seconds, base_seconds = (statistics.median(run.seconds for run in runs) for runs in (done, base))
    rows, base_rows = (statistics.mean(run.rows for run in runs) for runs in (done, base))
    flips = [_flips(run.scores_I, truth_I, items) for run in done]
    return {
        "rows_per_request": round(rows / len(items), 3),
        "seconds": round(seconds, 4),
        "rmse": round(_rms(np.concatenate([run.scores_I - truth_I for run in done])), 6),
        "stderr_rms": round(_rms(np.concatenate([run.stderr_I for run in done])), 6),
        "flips_per_question": round(statistics.mean(flips), 5),
        "fewer_rows": round(base_rows / rows, 2),
        "speedup": round(base_seconds / seconds, 2),
        "forward_share": round(statistics.median(run.forward_share for run in done), 3),
    }


def _rms(values) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _flips(scores_I: np.ndarray, truth_I: np.ndarray, items: Sequence[Item]) -> float:
    groups = questions(items)
    return float(np.mean([scores_I[group].argmax() != truth_I[group].argmax() for group in groups]))


def run_ours(backbone, items: Sequence[Item], rows: int, seed: int) -> Run:
    """All items in one queue."""
    engine, scorer = RowEngine(backbone), make_scorer("any_order", rows=rows, seed=seed)
    with Clock(backbone, ("hidden", "logits_at")) as clock:
        start = time.perf_counter()
        scored = score_all(scorer, items, engine)
        seconds = time.perf_counter() - start
    return Run([s.logprob for s in scored], [s.stderr for s in scored], engine.rows_computed, seconds, clock.seconds)


@torch.inference_mode()
def run_published(backbone, items: Sequence[Item], draws: int, seed: int) -> Run:
    """One item after the other: batches of the same request, logits of every position, cross-entropy where hidden."""
    scores, errors = [], []
    with Clock(backbone, ("hidden", "logits_at")) as clock:
        start = time.perf_counter()
        for item in items:
            rng = np.random.default_rng([seed & 0xFFFF, int(key_of(seed, repr(item.target)))])
            hidden_NL, drawn = llada_masks(len(item.target), draws, rng), []
            for at in range(0, draws, DRAWS_TOGETHER):
                drawn += _published_batch(backbone, item, torch.from_numpy(hidden_NL[at : at + DRAWS_TOGETHER]))
            scores.append(float(np.mean(drawn)))
            errors.append(float(np.std(drawn, ddof=1) / len(drawn) ** 0.5))
        seconds = time.perf_counter() - start
    return Run(scores, errors, draws * len(items), seconds, clock.seconds)


def _published_batch(backbone, item: Item, hidden_BL: torch.Tensor) -> list[float]:
    canvas = backbone.layout.pack([(item.prompt, item.target)] * len(hidden_BL), backbone.ids).to(backbone.device)
    hidden_BT = torch.zeros_like(canvas.target_BT)
    hidden_BT[canvas.target_BT] = hidden_BL.flatten().to(backbone.device)
    masked = canvas.with_tokens(canvas.tokens_BT.masked_fill(hidden_BT, backbone.ids.mask))
    everywhere_BT = torch.ones_like(hidden_BT)
    logits_BTV = backbone.logits_at(backbone.hidden(masked), everywhere_BT).view(*hidden_BT.shape, -1)
    nll_M = torch.nn.functional.cross_entropy(
        logits_BTV[hidden_BT].float(), canvas.tokens_BT[hidden_BT], reduction="none"
    )
    rows_M = hidden_BT.nonzero()[:, 0]
    sums_B = torch.zeros(len(hidden_BL), device=nll_M.device).index_add_(0, rows_M, nll_M)
    return (-sums_B.cpu() * len(item.target) / hidden_BL.sum(1)).tolist()


def against_stock(model, requests: Sequence[Instance], turns: int) -> dict[str, Any]:
    """Seconds of our autoregressive adapter and of lm-eval's own HFLM on the same requests: median of `turns`, in
    alternating order; the first turn warms up.
    """
    from lm_eval.models import huggingface

    stock_class: Any = huggingface.HFLM
    stock = stock_class(
        pretrained=model.pretrained,
        backend=model.backend_name,
        device=str(model.device),
        dtype="float32",
        batch_size=32,
    )
    model.batch_size_per_gpu = 32
    seconds: dict[str, list[float]] = {"ours": [], "stock": []}
    scores = {}
    pair = [("ours", model), ("stock", stock)]
    for turn in range(turns + 1):
        for name, one in pair if turn % 2 else pair[::-1]:
            start = time.perf_counter()
            scores[name] = one.loglikelihood(list(requests), disable_tqdm=True)
            wait()
            seconds[name].append(time.perf_counter() - start)
    ours, theirs = (statistics.median(seconds[name][1:]) for name in ("ours", "stock"))
    return {
        "requests": len(requests),
        "seconds_ours": round(ours, 4),
        "seconds_stock": round(theirs, 4),
        "ratio": round(ours / theirs, 3),
        "largest_difference": max(
            abs(a - b) for (a, _), (b, _) in zip(scores["ours"], scores["stock"], strict=True)
        ),  # nats
        "equal_greedy": [best for _, best in scores["ours"]] == [best for _, best in scores["stock"]],
    }
