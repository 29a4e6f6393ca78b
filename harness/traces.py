"""Traces: what a decoder did to a canvas, pass by pass, for people to look at.

`results/<suite>/speed/traces.jsonl`, one line (a JSON object) per item and mode:

    mode, label, system, seed   the speed mode that was traced, as the suite calls it
    task, doc_id                the document
    prompt, reference, answer   texts; the answer is what the decoder wrote (model text: escape it)
    decoder, settings           name, and the mode's adapter settings as given by the suite
    passes                      list, one entry per forward pass over the answer, in order; each is a list with one
                                entry per place of the answer, from the left: {"token", "probability", "state"}

state of a place after the pass:
    written       was hidden before the pass, holds `token` now; probability: that the pass gave it
    held          held `token` before and after; probability: the one it was written with
    taken_back    held `token` before, is hidden again now (re-masking); probability: the one it was written with
    hidden        still hidden; `token` and probability are this pass's best guess, both null if it was not asked for

After the last pass every place is written or held, and their tokens are the answer. A place that the decoder asks about
again while it holds a token keeps the probability that it was written with. The last place may be the eos that ended
the answer early; places behind it are left out. Probabilities are in [0, 1], rounded to 4 digits.
The decoders know nothing of traces: a `Watched` backbone sees every canvas that passes through it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch

from harness.adapters.settings import MaskedSettings
from harness.adapters.writing import write
from harness.backbones import MaskedBackbone
from harness.canvas import Canvas
from harness.config import ConfigError
from harness.evaluate import load_of_suite, use_embedded_corpus
from harness.records import write_atomically
from harness.registration import task_manager
from harness.speed import longest_answer, settings_of
from harness.suites import SpeedMode, Suite

TRACES_FILE = Path("speed") / "traces.jsonl"
State = Literal["written", "held", "taken_back", "hidden"]


@dataclass(frozen=True)
class Place:
    """One place of the answer after a pass: token id (None: unknown), its probability, its state."""

    token: int | None
    probability: float | None
    state: State


class Watched:
    """A backbone that remembers every pass over the answer of one row; everything else is the plain backbone's."""

    def __init__(self, backbone: MaskedBackbone):
        self.plain = backbone
        self.before: list[list[int]] = []  # the answer's tokens before each pass
        self.logprobs: list[dict[int, torch.Tensor]] = []  # per pass: place → log-probabilities [V]
        self._place_T = torch.empty(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)

    def hidden(self, canvas: Canvas) -> torch.Tensor:
        """The plain backbone's states; a canvas with a target is remembered."""
        if canvas.target_BT.any():
            if len(canvas.tokens_BT) != 1:
                raise ValueError(f"a trace is of one row, got {len(canvas.tokens_BT)}: trace one item, length_beam=1.")
            self.before.append(canvas.tokens_BT[0][canvas.target_BT[0]].tolist())
            self.logprobs.append({})
            self._place_T = canvas.target_BT[0].cumsum(0) - 1
        return self.plain.hidden(canvas)

    def logits_at(self, hidden_BTD: torch.Tensor, positions_BT: torch.Tensor) -> torch.Tensor:
        """The plain backbone's logits, remembered by place."""
        logits_MV = self.plain.logits_at(hidden_BTD, positions_BT)
        known_MV = logits_MV.detach().float().clone()
        known_MV[:, self.plain.ids.mask] = -torch.inf
        places = self._place_T[positions_BT[0]].tolist()
        self.logprobs[-1].update(zip(places, known_MV.log_softmax(-1), strict=True))
        return logits_MV


def trace(
    backbone: MaskedBackbone, prompt: Sequence[int], settings: MaskedSettings, name: str
) -> tuple[list[int], list[list[Place]]]:
    """The answer's tokens to one prompt and, per forward pass, the state of its places.

    Raises:
        ValueError: length_beam > 1 (its candidates are several answers).
    """
    if settings.length_beam > 1:
        raise ValueError(f"length_beam={settings.length_beam}: a trace follows one answer; take length_beam=1.")
    watched = Watched(backbone)
    (tokens,) = write(cast(MaskedBackbone, watched), [prompt], settings, [None], [name]).tokens
    canvases = [*watched.before, [*tokens, backbone.ids.eos]]
    shown = min(map(len, canvases))
    passes, written = [], {}
    for number, logprobs in enumerate(watched.logprobs):
        places = []
        for place in range(shown):
            old, new = canvases[number][place], canvases[number + 1][place]
            places.append(_place(old, new, backbone.ids.mask, logprobs.get(place), written.get(place)))
            if places[-1].state == "written":
                written[place] = places[-1].probability
        passes.append(places)
    return tokens, passes


def _place(old: int, new: int, mask: int, logprobs_V: torch.Tensor | None, accepted: float | None) -> Place:
    """State of a place that held `old` before a pass and `new` after it."""
    if old != mask:
        return Place(old, accepted, "held" if new != mask else "taken_back")
    if new != mask:
        return Place(new, None if logprobs_V is None else float(logprobs_V[new].exp()), "written")
    if logprobs_V is None:
        return Place(None, None, "hidden")
    best = int(logprobs_V.argmax())
    return Place(best, float(logprobs_V[best].exp()), "hidden")


def trace_suite(suite: Suite, results: Path) -> str:
    """Trace `suite.traces`; writes results/<suite>/speed/traces.jsonl and says where.

    Raises:
        ConfigError: the suite has no traces section, or traces an autoregressive system.
    """
    plan = suite.traces
    if plan is None or suite.speed is None:
        raise ConfigError(f"suite {suite.name} has no traces section: nothing to trace.")
    root = results / suite.name
    use_embedded_corpus(suite, root)
    task = task_manager([plan.task]).load(plan.task)["tasks"][plan.task]
    docs = list(task.test_docs())
    chosen = [len(docs) * number // plan.items for number in range(min(plan.items, len(docs)))]
    lines = []
    for mode in (mode for mode in suite.speed.modes if mode.name in plan.modes):
        model = load_of_suite(suite, root, mode.system)
        lines += [_line(suite, mode, model, task, plan.task, number, docs[number]) for number in chosen]
    write_atomically(root / TRACES_FILE, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return f"{len(lines)} traces in {root / TRACES_FILE}"


def _line(suite: Suite, mode: SpeedMode, model, task, name: str, doc_id: int, doc: dict) -> dict[str, Any]:
    settings = settings_of(model, mode, longest_answer(task))
    if settings is None:
        raise ConfigError(f"traces.modes: {mode.name} is autoregressive; only masked systems fill canvases.")
    text, reference = task.doc_to_text(doc), str(task.doc_to_target(doc))
    prompt = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    tokens, passes = trace(model.backbone, prompt, settings, f"{name}/{doc_id}/0")

    def shown(place: Place) -> dict[str, Any]:
        token = None if place.token is None else model.tokenizer.decode([place.token])
        probability = None if place.probability is None else round(place.probability, 4)
        return {"token": token, "probability": probability, "state": place.state}

    return {
        "mode": mode.name, "label": mode.label, "system": mode.system, "seed": suite.seeds[0], "task": name,
        "doc_id": doc_id, "prompt": text, "reference": reference.strip(),
        "answer": model.tokenizer.decode(tokens, skip_special_tokens=True).strip(),
        "decoder": settings.decoder, "settings": dict(mode.settings),
        "passes": [[shown(place) for place in places] for places in passes],
    }  # fmt: skip
