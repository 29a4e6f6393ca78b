"""Answers of an adapter: scores from the store where known, from the network else; and the log of questions.

The log has one line per question: its choices' scores with standard errors, rows asked for, and the probability that
exact scores would choose another answer. lm-eval's response format has no room for them: a run keeps them beside its
samples (`scores.jsonl`), and their means in its record.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from harness import __version__
from harness.environment import package_versions
from harness.records import CheckpointRecord, digest_of, sha256_file
from harness.rows import RowEngine
from harness.scorers import VERSION, Item, Scored
from harness.scorers.estimator import Estimator, flip_probability
from harness.store import Store

NUMERIC_PACKAGES = ("torch", "transformers", "tokenizers")


def asker(adapter: str, files: str, identity: dict[str, Any]) -> dict[str, Any]:
    """Everything beside estimator and request that can change an adapter's answers, for a store's keys."""
    packages = {name: package_versions()[name] for name in NUMERIC_PACKAGES}
    return {
        "adapter": adapter,
        "files": files,
        "model": identity,
        "packages": packages,
        "program": [__version__, VERSION],
    }


def files_digest(pretrained: str, record: CheckpointRecord | None, network: Any, tokenizer: Any) -> str:
    """Digest of weights, configuration and tokenizer: of a folder's files, or of what was loaded from a hub."""
    if record is not None:
        return digest_of(record.files, 64)
    folder = Path(pretrained)
    if folder.is_dir():
        kinds = (".safetensors", ".json", ".model", ".txt", ".jinja")
        names = sorted(path for path in folder.iterdir() if path.suffix in kinds)
        return digest_of({path.name: sha256_file(path) for path in names}, 64)
    digest = hashlib.sha256(network.config.to_json_string().encode())
    digest.update(repr(sorted(tokenizer.get_vocab().items())).encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(_bytes_type()).numpy().tobytes())
    return digest.hexdigest()


def _bytes_type():
    import torch

    return torch.uint8


def stored_scores(
    estimator: Estimator, items: Sequence[Item], engine: RowEngine, store: Store | None, done: Callable[[int], Any]
) -> tuple[list[Scored], int]:
    """Scores of all items, in order, and how many came from the store; new ones are stored after every pass."""
    if store is None:
        return estimator.score(items, engine, lambda news: done(len(news))), 0
    keys = [store.key("score", estimator.settings(), i.key, i.prompt, i.target, i.words) for i in items]
    known = store.get(list(dict.fromkeys(keys)))
    if estimator.racing:  # a race is decided among all choices of a question
        open_questions = {item.key for item, key in zip(items, keys, strict=True) if key not in known}
        known = {k: known[k] for k, i in zip(keys, items, strict=True) if k in known and i.key not in open_questions}
    first = {key: index for index, key in reversed(list(enumerate(keys))) if key not in known}
    new = sorted(first.values())
    done(len(items) - len(new))

    def keep(news: Iterable[tuple[int, Scored]]) -> None:
        rows = [(keys[new[index]], _packed(score)) for index, score in news]
        store.put(rows)
        done(len(rows))

    found = {key: _unpacked(answer) for key, answer in known.items()}
    computed = estimator.score([items[index] for index in new], engine, keep)
    found.update((keys[index], score) for index, score in zip(new, computed, strict=True))
    return [found[key] for key in keys], len(items) - len(new)


def _packed(score: Scored) -> dict[str, Any]:
    draws = None if score.draws_RC is None else score.draws_RC.tolist()
    return {**{k: v for k, v in asdict(score).items() if k != "draws_RC"}, "draws_RC": draws}


def _unpacked(answer: dict[str, Any]) -> Scored:
    draws = answer.pop("draws_RC")
    return Scored(**answer, draws_RC=None if draws is None else np.asarray(draws))


def question_lines(requests: Sequence[Any], items: Sequence[Item], scored: Sequence[Scored]) -> list[dict[str, Any]]:
    """One line per question (see the module's first lines); a request that was sent twice counts once."""
    groups: dict[str, dict[int, tuple[Any, Item, Scored]]] = {}
    for request, item, score in zip(requests, items, scored, strict=True):
        groups.setdefault(item.key, {})[request.idx] = (request, item, score)
    lines = []
    for choices in groups.values():
        request = next(iter(choices.values()))[0]
        lines.append(
            {
                "task": request.task_name,
                "doc_id": request.doc_id,
                "choices": [
                    {"choice": idx, "logprob": s.logprob, "stderr": s.stderr, "rows": s.rows, "kind": s.kind}
                    for idx, (_, _, s) in sorted(choices.items())
                ],
                "flip_probability": flip_probability([(len(item.target), s) for _, item, s in choices.values()]),
            }
        )
    return lines


def summary_of(lines: Sequence[dict[str, Any]]) -> dict[str, float] | None:
    """Means over a run's questions: standard error of a score (root mean square, nats), rows, flips; None without any."""
    choices = [choice for line in lines for choice in line["choices"]]
    if not choices:
        return None
    return {
        "questions": float(len(lines)),
        "stderr_rms": math.sqrt(sum(choice["stderr"] ** 2 for choice in choices) / len(choices)),
        "rows_asked_per_choice": sum(choice["rows"] for choice in choices) / len(choices),
        "flip_probability_mean": sum(line["flip_probability"] for line in lines) / len(lines),
    }
