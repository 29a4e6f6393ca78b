"""Denoising traces: how a decoder fills an answer, pass by pass, recorded at the backbone.

A `Recorder` stands in front of a backbone and notes what every pass reads and guesses, so no decoder knows of it and
every decoder, present or future, is traced alike. Answers are written one at a time; no answer depends on its batch.
Shapes: B rows (one), T tokens, V vocabulary, M positions asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from harness.canvas import Canvas
from harness.records import TRACES_FILE, RunRecord, TracePass, TraceRecord, sha256_file, write_atomically

ITEMS = 6  # per task: enough to look at, seconds to make


class Recorder:
    """A backbone that answers as the one behind it and keeps (tokens, positions asked for, logits) of every pass."""

    def __init__(self, backbone: Any):
        self._backbone = backbone
        self.passes: list[tuple[Canvas, list[tuple[torch.Tensor, torch.Tensor]]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)

    def hidden(self, canvas: Canvas) -> torch.Tensor:
        """As the backbone's; opens a pass."""
        self.passes.append((canvas, []))
        return self._backbone.hidden(canvas)

    def logits_at(self, hidden_BTD: torch.Tensor, positions_BT: torch.Tensor) -> torch.Tensor:
        """As the backbone's; notes the answer."""
        logits_MV = self._backbone.logits_at(hidden_BTD, positions_BT)
        self.passes[-1][1].append((positions_BT, logits_MV.clone()))
        return logits_MV

    def trace(self, words: Callable[[int], str]) -> tuple[TracePass, ...]:
        """The passes that asked for tokens; `words` maps a token id to its text.

        Raises:
            ValueError: a pass had several rows.
        """
        written = [(canvas, asked) for canvas, asked in self.passes if asked]
        for canvas, _ in written:
            if len(canvas.tokens_BT) != 1:
                raise ValueError(f"a trace follows one answer, this pass had {len(canvas.tokens_BT)} rows.")
        mask = self._backbone.ids.mask
        return tuple(_pass(canvas, asked, mask, words) for canvas, asked in written)


def _pass(
    canvas: Canvas, asked: list[tuple[torch.Tensor, torch.Tensor]], mask: int, words: Callable[[int], str]
) -> TracePass:
    """One pass over the positions of the answer, in order."""
    guess: dict[int, int] = {}
    probability: dict[int, float] = {}
    for positions_BT, logits_MV in asked:
        logits_MV = logits_MV.float().clone()
        logits_MV[:, mask] = -torch.inf  # as decoders do: the mask token can never be written
        best_M = logits_MV.softmax(-1).max(-1)
        places = positions_BT[0].nonzero().flatten().tolist()
        guess |= dict(zip(places, best_M.indices.tolist(), strict=True))
        probability |= dict(zip(places, best_M.values.tolist(), strict=True))
    places = canvas.target_BT[0].nonzero().flatten().tolist()
    held = [int(canvas.tokens_BT[0, place]) for place in places]
    return TracePass(
        canvas=tuple(None if token == mask else words(token) for token in held),
        guess=tuple(words(guess[place]) if place in guess else None for place in places),
        probability=tuple(round(probability[place], 4) if place in probability else None for place in places),
    )


def trace_runs(model: Any, folders: Sequence[tuple[RunRecord, Path]], items: int = ITEMS) -> Iterator[TraceRecord]:
    """Traces of some items of every run that wrote texts, asked again as their samples say; `model`: a masked adapter."""
    for record, folder in folders:
        if record.kind is not None or record.oracle_length:
            continue
        for sample in _spread(folder / "samples.jsonl", items):
            yield _trace(model, record, sample)


def _spread(samples: Path, count: int) -> Iterator[dict[str, Any]]:
    """`count` lines spread evenly over a samples file, so that every language has its turn."""
    with open(samples, encoding="utf-8") as file:
        lines = file.readlines()
    chosen = sorted({round(index * (len(lines) - 1) / max(count - 1, 1)) for index in range(count)})
    yield from (json.loads(lines[index]) for index in chosen)


def _trace(model: Any, record: RunRecord, sample: dict[str, Any]) -> TraceRecord:
    from harness.adapters.writing import write

    prompt, options = (sample["arguments"]["gen_args_0"][name] for name in ("arg_0", "arg_1"))
    settings = model.settings.changed({"length_beam": 1, **_length(options)})
    recorder = Recorder(model.backbone)
    ids = model.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    name = f"{record.task}/{sample['doc_id']}/0"
    room = model.max_length - model.backbone.layout.overhead - settings.max_gen_toks
    written = write(recorder, [ids[-room:]], settings, [None], [name])  # type: ignore[arg-type]
    answer = model.tokenizer.decode(written.tokens[0], skip_special_tokens=True)
    for stop in options.get("until") or []:
        answer = answer.split(stop)[0] if stop else answer

    def word(token: int) -> str:
        return model.tokenizer.decode([token])

    doc = sample["doc"]
    return TraceRecord(
        task=record.task,
        doc_id=sample["doc_id"],
        item=str(doc.get("id", sample["doc_id"])),
        decoder=settings.decoder,
        settings={"steps": settings.steps, "length": settings.length, **settings.of_decoder()},
        prompt=prompt,
        target=str(sample["target"]),
        passes=recorder.trace(word),
        tokens=tuple(word(token) for token in written.tokens[0]),
        answer=answer,
    )


def _length(options: dict[str, Any]) -> dict[str, Any]:
    return {"max_gen_toks": options["max_gen_toks"]} if "max_gen_toks" in options else {}


def write_traces(model: Any, records: Sequence[RunRecord], folder: Path) -> str | None:
    """`traces.jsonl` in a system's folder of runs; its sha256, or None for a model that has no canvas to trace."""
    if not hasattr(model, "backbone"):
        return None
    model.configure()
    runs = [(record, folder / record.evaluation / record.task) for record in records if record.evaluation == "main"]
    lines = [trace.model_dump_json() + "\n" for trace in trace_runs(model, runs)]
    write_atomically(folder / TRACES_FILE, "".join(lines))
    return sha256_file(folder / TRACES_FILE)
