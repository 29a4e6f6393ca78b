"""How right predicted answer lengths are, and what a length beam closes of the gap to the reference's length.

For every checkpoint with a length head: the head's most probable lengths of a task's documents against their
references', and the task's metric when answers are written with the reference's length, with the predicted one, and with
a beam of the most probable ones, each ranking rule apart. Everything else is as the system is evaluated.
`lengths.jsonl` has a line per document, `lengths.csv` a row per system, seed and kind of document.
gap_closed = (beam − predicted) / (oracle − predicted), empty where the oracle's lead is not positive.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from harness.adapters.settings import MaskedSettings
from harness.config import ConfigError
from harness.decoders.length import predicted_lengths
from harness.evaluate import load_of_suite, use_embedded_corpus
from harness.progress import bar
from harness.records import write_atomically
from harness.registration import task_manager
from harness.speed import longest_answer
from harness.suites import LengthPlan, Suite

CSV_FILE, LINES_FILE = Path("speed") / "lengths.csv", Path("speed") / "lengths.jsonl"
EVERY_KIND = "all"
KEYS = ("suite", "system", "seed", "task", "kind", "beam")
NUMBERS = ("items", "exact", "within_one", "in_beam", "oracle", "predicted")  # shares of documents, but for items


def columns(plan: LengthPlan) -> list[str]:
    """Columns of lengths.csv: shares of documents, means of the metric, gaps closed by each ranking rule."""
    ranked = [name for rule in plan.beam_scores for name in (rule, f"{rule}_gap_closed")]
    return [*KEYS, *NUMBERS, *ranked]


def measure_lengths(suite: Suite, results: Path) -> str:
    """Measure `suite.lengths`; writes results/<suite>/speed/lengths.{csv,jsonl} and returns the CSV.

    Raises:
        ConfigError: the suite has no lengths section.
    """
    plan = suite.lengths
    if plan is None:
        raise ConfigError(f"suite {suite.name} has no lengths section: nothing to measure.")
    root = results / suite.name
    use_embedded_corpus(suite, root)
    task = task_manager([plan.task]).load(plan.task)["tasks"][plan.task]
    docs = list(task.test_docs())
    lines: list[dict[str, Any]] = []
    for name, seed in bar([(n, s) for n in plan.systems for s in suite.seeds], what="lengths", unit="checkpoints"):
        model = load_of_suite(suite, root, name, seed)
        facts = {"suite": suite.name, "system": name, "seed": seed, "task": plan.task, "beam": plan.beam}
        lines += [{**facts, **line} for line in length_lines(model, plan, task, docs, suite.batch_size)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns(plan), lineterminator="\n")
    writer.writeheader()
    writer.writerows(summary(lines, plan))
    write_atomically(root / LINES_FILE, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    write_atomically(root / CSV_FILE, text.getvalue())
    return text.getvalue()


def length_lines(model, plan: LengthPlan, task, docs: Sequence[dict], batch_size: int) -> list[dict[str, Any]]:
    """Per document: its kind, the reference's length, the beam's lengths (best first), the metric under each policy."""
    prompts = [model.tokenizer(task.doc_to_text(doc), add_special_tokens=False)["input_ids"] for doc in docs]
    gold = [model.reference_length(str(task.doc_to_target(doc))) for doc in docs]
    settings = model.asked.changed({"max_gen_toks": longest_answer(task)})
    policies = {
        "oracle": replace(settings, length="oracle", length_beam=1),
        "predicted": replace(settings, length="predicted", length_beam=1),
    }
    for rule in plan.beam_scores:
        policies[rule] = replace(settings, length="predicted", length_beam=plan.beam, beam_score=rule)
    lengths: dict[int, list[int]] = {}
    scores: dict[str, dict[int, float]] = {name: {} for name in policies}
    order = sorted(range(len(docs)), key=lambda index: len(prompts[index]))
    for at in range(0, len(order), batch_size):
        batch = order[at : at + batch_size]
        given = [prompts[i] for i in batch]
        lengths |= dict(zip(batch, _beam(model.backbone, given, plan.beam, settings), strict=True))
        for name, policy in policies.items():
            tokens = model.decode_tokens(given, policy, [gold[i] for i in batch])
            for index, ids in zip(batch, tokens, strict=True):
                text = model.tokenizer.decode(ids, skip_special_tokens=True)
                scores[name][index] = float(task.process_results(docs[index], [text])[plan.metric])
    return [
        {"doc_id": i, "kind": str(doc.get(plan.kind_field, "")), "language": doc.get("language"), "reference": gold[i],
         "lengths": lengths[i], **{name: found[i] for name, found in scores.items()}}
        for i, doc in enumerate(docs)
    ]  # fmt: skip


@torch.inference_mode()
def _beam(backbone, prompts: Sequence[Sequence[int]], beam: int, settings: MaskedSettings) -> list[list[int]]:
    canvas = backbone.length_canvas(prompts).to(backbone.device)
    logits_BC = backbone.length_logits(backbone.hidden(canvas), canvas)
    return [list(row) for row in predicted_lengths(logits_BC, beam, settings.max_gen_toks)]


def summary(lines: Sequence[dict[str, Any]], plan: LengthPlan) -> list[dict[str, Any]]:
    """Rows of lengths.csv: for every system and seed, all documents and each kind of them."""
    groups: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for line in lines:
        for kind in dict.fromkeys((EVERY_KIND, line["kind"] or EVERY_KIND)):
            groups.setdefault((line["system"], line["seed"], kind), []).append(line)
    rows = []
    for (system, seed, kind), group in groups.items():
        first = group[0]
        row: dict[str, Any] = {"suite": first["suite"], "system": system, "seed": seed, "task": first["task"]}
        row |= {"kind": kind, "beam": plan.beam, "items": len(group)}
        row["exact"] = _share(line["lengths"][0] == line["reference"] for line in group)
        row["within_one"] = _share(abs(line["lengths"][0] - line["reference"]) <= 1 for line in group)
        row["in_beam"] = _share(line["reference"] in line["lengths"] for line in group)
        for name in ("oracle", "predicted", *plan.beam_scores):
            row[name] = _share(line[name] for line in group)
        for rule in plan.beam_scores:
            lead = row["oracle"] - row["predicted"]
            row[f"{rule}_gap_closed"] = round((row[rule] - row["predicted"]) / lead, 4) if lead > 0 else ""
        rows.append(row)
    return rows


def _share(values) -> float:
    values = [float(value) for value in values]
    return round(sum(values) / len(values), 5)
