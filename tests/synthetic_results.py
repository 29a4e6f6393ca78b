"""Made-up sealed results laid out as a suite's, with samples in lm-eval's format (no test here)."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from harness.records import CheckpointRecord, CheckpointRef, RunRecord, digest_of, seal, sha256_file
from harness.suites import Suite

CHOICES = {
    "mini_heldin_cls": 3,
    "mini_template_cls": 3,
    "mini_language_cls": 3,
    "mini_nli": 3,
    "mini_copa": 2,
    "mini_story": 2,
    "mini_winograd": 2,
}
GENERATION = ("mini_heldin_gen", "mini_template_gen", "mini_language_gen", "mini_retell", "mini_describe")
HELDIN = ("mini_heldin_cls", "mini_heldin_gen", "mini_retell", "mini_describe")
HELDOUT = tuple(name for name in (*CHOICES, *GENERATION) if name not in HELDIN)
LANGUAGES = ("en", "es", "de", "fr", "sw", "zh")
SYSTEMS = {
    "decoder_it": ("ar", "Decoder IT", "autoregressive", "exact"),
    "decoder_im": ("ar", "Decoder IM", "autoregressive", "exact"),
    "decoder_neftune": ("ar", "Decoder NEFTune", "autoregressive", "exact"),
    "bloomz": ("ar", "BLOOMZ", "autoregressive", "exact"),
    "mt0": ("encdec", "mT0", "encoder-decoder", "exact"),
    "instruct_xmlr": ("nar_xlmr", "Instruct-XMLR", "non-autoregressive", "bound"),
    "diffusionllm": ("diffusion_xlmr", "DiffusionLLM", "masked diffusion", "bound"),
}
PARALLEL = ("instruct_xmlr", "diffusionllm")
SPEED_COLUMNS = (
    "suite,mode,system,seed,label,batch_size,repeats,items,generated_tokens,tokens_per_second_median,"
    "tokens_per_second_min,tokens_per_second_max,latency_ms_median,forward_passes_per_item,quality_exact_match,"
    "quality_token_f1,peak_memory_mib,approximate,device"
)
MODES = {
    "decoder_kv": ("decoder_it", "Decoder IT (KV cache)", 900, 0.80),
    "mt0_kv": ("mt0", "mT0 (KV cache)", 820, 0.78),
    "xmlr_1": ("instruct_xmlr", "Instruct-XMLR mask-predict 1", 9000, 0.30),
    "xmlr_4": ("instruct_xmlr", "Instruct-XMLR mask-predict 4", 3100, 0.66),
    "xmlr_10": ("instruct_xmlr", "Instruct-XMLR mask-predict 10", 1250, 0.74),
    "diffusion_10": ("diffusionllm", "DiffusionLLM reparameterized 10", 1180, 0.75),
    "diffusion_50": ("diffusionllm", "DiffusionLLM reparameterized 50", 240, 0.79),
}


def make_suite(name: str = "toy", seeds: tuple[int, ...] = (0, 1), systems: tuple[str, ...] = tuple(SYSTEMS)) -> Suite:
    """A suite shaped like the embedded one, with the given systems."""
    parallel = [system for system in PARALLEL if system in systems]
    evaluations: list[dict] = [{"name": "main", "tasks": ["mini_heldin", "mini_heldout"]}]
    if parallel:
        oracle = ["mini_heldin_gen", "mini_retell", "mini_describe"]
        choice = ["mini_nli", "mini_copa", "mini_story", "mini_winograd"]
        settings = {"length": "oracle"}
        evaluations += [{"name": "oracle_length", "tasks": oracle, "systems": parallel, "settings": settings}]
        evaluations += [{"name": e, "tasks": choice, "systems": parallel} for e in ("one_pass", "pll")]
    modes = [{"name": m, "system": v[0], "label": v[1]} for m, v in MODES.items() if v[0] in systems]
    keys = ("adapter", "label", "paradigm")
    return Suite.model_validate(
        {
            "name": name,
            "description": "Made-up numbers",
            "seeds": seeds,
            "systems": [
                {"name": s, "recipe": f"r/{s}.yaml"} | dict(zip(keys, SYSTEMS[s][:3], strict=True)) for s in systems
            ],
            "evaluations": evaluations,
            "speed": {"modes": modes},
        }
    )


def write_groups(folder: Path) -> Path:
    """A tasks folder with the two group files of the embedded suite."""
    folder.mkdir(parents=True, exist_ok=True)
    for group, tasks in (("mini_heldin", HELDIN), ("mini_heldout", HELDOUT)):
        lines = "\n".join(f"  - {task}" for task in tasks)
        (folder / f"{group}.yaml").write_text(f"group: {group}\ntask:\n{lines}\n", encoding="utf-8")
    (folder / "mini_nli.yaml").write_text("task: mini_nli\ndoc_to_text: !function utils.text\n", encoding="utf-8")
    return folder


def samples(task: str, accuracy: float, per_language: int, rng: random.Random) -> list[dict]:
    """Sample lines as lm-eval 0.4.13 writes them; each item is right with probability `accuracy`."""
    lines = []
    for number in range(per_language * len(LANGUAGES)):
        doc = {
            "id": f"{task}-{number}",
            "language": LANGUAGES[number % len(LANGUAGES)],
            "task": task.removeprefix("mini_"),
            "template": f"t{number % 3}",
            "inputs": "a question",
            "targets": "answer",
            "split": "test",
        }
        right = rng.random() < accuracy
        line = {"doc_id": number, "doc": doc, "target": "answer", "filter": "none", "doc_hash": "0"}
        if task in CHOICES:
            line |= _choice(doc, CHOICES[task], number, right, rng)
        else:
            line |= _generation(task, right, rng)
        lines.append(line)
    return lines


def _choice(doc: dict, count: int, number: int, right: bool, rng: random.Random) -> dict:
    gold = number % count
    doc |= {"choices": [f"choice {k}" for k in range(count)], "gold": gold}
    answer = gold if right else (gold + rng.randrange(1, count)) % count
    scores = [[str(-1.0 if k == answer else -3.0 - k), "False"] for k in range(count)]
    return {
        "resps": [[score] for score in scores],
        "filtered_resps": scores,
        "metrics": ["acc", "acc_norm"],
        "acc": float(right),
        "acc_norm": float(right),
    }


def _generation(task: str, right: bool, rng: random.Random) -> dict:
    values = {"exact_match": float(right)}
    if task == "mini_describe":
        values = {"valid": float(right), "adjacent_repeat": float(not right and rng.random() < 0.5)}
    if task == "mini_retell":
        values["token_f1"] = 1.0 if right else round(rng.random(), 3)
    return {"resps": [["text"]], "filtered_resps": ["text"], "metrics": list(values), **values}


def write_run(root: Path, suite: Suite, system: str, seed: int, evaluation: str, task: str, lines: list[dict]) -> Path:
    """A sealed run folder with the given sample lines; returns it."""
    folder = root / "runs" / f"{system}-{seed}" / evaluation / task
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / "samples.jsonl").write_text(text, encoding="utf-8")
    metric = lines[0]["metrics"][0]
    value = sum(line[metric] for line in lines) / len(lines)
    (folder / "results.json").write_text(json.dumps({"results": {task: {f"{metric},none": value}}}), encoding="utf-8")
    checkpoint = root / "checkpoints" / f"{system}-{seed}"
    kind: Any = None if task in GENERATION else {"pll": "pseudo"}.get(evaluation, SYSTEMS[system][3])
    rows = len(lines) * CHOICES.get(task, 1) * {"main": 4 if kind == "bound" else 1, "pll": 5}.get(evaluation, 1)
    record = RunRecord(
        run_id=digest_of([suite.name, system, seed, evaluation, task]),
        suite=suite.name,
        evaluation=evaluation,
        checkpoint=CheckpointRef(
            path=f"results/{suite.name}/checkpoints/{system}-{seed}",
            weights_sha256=sha256_file(checkpoint / "model.safetensors"),
            recipe=system,
            recipe_id=digest_of(system),
            seed=seed,
        ),
        adapter=SYSTEMS[system][0],
        settings={},
        kind=kind,
        oracle_length=evaluation == "oracle_length",
        task=task,
        task_version=1,
        n_shot=0,
        limit=None,
        n_items=len(lines),
        n_scored=len(lines),
        n_unscored=0,
        n_truncated=0,
        n_rows=rows,
        values={f"{metric},none": value},
        seeds={"seed": seed},
        data={"manifest.json": sha256_file(root / "corpus" / "manifest.json")},
        commit="c0ffee",
        dirty=False,
        packages={"python": "3.11", "torch": "2.13.0"},
        device="cpu (made up)",
        started="2026-01-01T00:00:00+00:00",
        seconds=round(rows / 900, 3),
        files={name: sha256_file(folder / name) for name in ("results.json", "samples.jsonl")},
    )
    seal(record, folder)
    return folder


def write_checkpoint(root: Path, system: str, seed: int) -> Path:
    """A sealed checkpoint folder (its weights are a few bytes)."""
    folder = root / "checkpoints" / f"{system}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(f"{system}-{seed}".encode())
    (folder / "recipe.yaml").write_text(f"name: {system}\n", encoding="utf-8")
    record = CheckpointRecord(
        recipe=system,
        recipe_id=digest_of(system),
        label=SYSTEMS[system][1],
        adapter=SYSTEMS[system][0],
        objective="causal",
        seed=seed,
        canvas="causal",
        parameters=201_000,
        parameters_without_embeddings=124_416,
        steps=3000,
        examples=96_000,
        tokens=2_900_000,
        loss_tokens=400_000,
        final_loss=0.4,
        seconds=58.0,
        corpus={"manifest.json": sha256_file(root / "corpus" / "manifest.json")},
        commit="c0ffee",
        dirty=False,
        packages={"torch": "2.13.0"},
        device="cpu (made up)",
        finished="2026-01-01T00:00:00+00:00",
        files={name: sha256_file(folder / name) for name in ("model.safetensors", "recipe.yaml")},
    )
    seal(record, folder)
    return folder


def write_results(root: Path, suite: Suite, per_language: int = 10, speed: bool = True) -> Path:
    """A complete results folder of `suite` at `root`; returns it. Deterministic."""
    (root / "corpus").mkdir(parents=True, exist_ok=True)
    (root / "corpus" / "manifest.json").write_text('{"schema_version": 1, "seed": 0}\n', encoding="utf-8")
    for system in suite.systems:
        for seed in suite.seeds:
            write_checkpoint(root, system.name, seed)
            for evaluation in suite.evaluations_of(system.name):
                for task in (*HELDIN, *HELDOUT) if evaluation.name == "main" else evaluation.tasks:
                    rng = random.Random(f"{system.name} {seed} {evaluation.name} {task}")
                    heldout = task in HELDOUT
                    accuracy = rng.uniform(0.40, 0.75) if heldout else rng.uniform(0.80, 0.95)
                    lines = samples(task, accuracy, per_language, rng)
                    write_run(root, suite, system.name, seed, evaluation.name, task, lines)
    if speed:
        write_speed(root, suite)
    return root


def write_speed(root: Path, suite: Suite) -> Path:
    """speed/decoding.csv with every mode, seed and batch size."""
    rows = [SPEED_COLUMNS]
    rng = random.Random(1)
    for mode in suite.speed.modes if suite.speed else ():
        system, label, tokens, quality = MODES[mode.name]
        for seed in suite.seeds:
            for batch in (1, 32):
                rate = tokens * (1 if batch == 1 else 9) * rng.uniform(0.95, 1.05)
                score = quality + rng.uniform(-0.02, 0.02)
                values = (
                    suite.name,
                    mode.name,
                    system,
                    seed,
                    label,
                    batch,
                    3,
                    64,
                    1900,
                    rate,
                    rate * 0.96,
                    rate * 1.03,
                )
                rows.append(",".join(map(str, (*values, 30000 / rate, 10.0, score, score + 0.1, 410.0, False, "cpu"))))
    path = root / "speed" / "decoding.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path
