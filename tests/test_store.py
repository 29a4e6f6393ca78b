"""The store of answers: nothing lost by a kill, nothing of another model served, several processes, other versions."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lm_eval.api.instance import Instance

from harness.adapters.autoregressive import Autoregressive
from harness.adapters.diffusion import DiffusionXlmr
from harness.adapters.exact_scores import ExactScores
from harness.adapters.masked_lm import NarXlmr
from harness.store import SCHEMA, Store, StoreError

AR: Any = Autoregressive
ROOT = Path(__file__).resolve().parents[1]


def requests(pairs, kind: Any = "loglikelihood"):
    return [Instance(kind, {}, pair, i % 2, ("task", i // 2, 1)) for i, pair in enumerate(pairs)]


PAIRS = [
    (f"say {a} {b}", f" {c} dog cat sun moon tree") for a in ("red", "blue") for b in ("cat", "one") for c in "xyz"
]


def test_answers_come_back_and_only_to_their_asker(tmp_path):
    store = Store(tmp_path / "a.sqlite", {"weights": "1", "dtype": "float32"})
    store.put([(store.key("score", (1, 2)), {"logprob": -1.25}), (store.key("score", (1, 3)), "text")])
    store.put([(store.key("score", (1, 2)), {"logprob": 9.0})])  # append-only: the first answer stays
    again = Store(tmp_path / "a.sqlite", {"dtype": "float32", "weights": "1"})
    assert again.get([again.key("score", (1, 2))]) == {again.key("score", (1, 2)): {"logprob": -1.25}}
    other = Store(tmp_path / "a.sqlite", {"weights": "2", "dtype": "float32"})
    assert other.get([other.key("score", (1, 2)), other.key("score", (1, 3))]) == {} and len(other) == 2


def test_a_store_of_another_version_or_program_is_refused(tmp_path):
    Store(tmp_path / "a.sqlite", {})
    base = sqlite3.connect(tmp_path / "a.sqlite")
    base.execute(f"PRAGMA user_version={SCHEMA + 1}")
    base.commit()
    base.close()
    with pytest.raises(StoreError, match=f"version {SCHEMA + 1} of the store, this program writes version {SCHEMA}"):
        Store(tmp_path / "a.sqlite", {})
    base = sqlite3.connect(tmp_path / "b.sqlite")
    base.execute("CREATE TABLE t (x)")
    base.close()
    with pytest.raises(StoreError, match="another program"):
        Store(tmp_path / "b.sqlite", {})
    (tmp_path / "c.sqlite").write_text("this is no database, but long enough to be looked at" * 20)
    with pytest.raises(StoreError, match="cannot use"):
        Store(tmp_path / "c.sqlite", {})
    with pytest.raises(StoreError, match="cannot use"):
        Store(tmp_path / "c.sqlite" / "below", {})


def test_a_second_run_answers_from_the_store(checkpoints, tmp_path):
    path, folder = str(tmp_path / "answers.sqlite"), str(checkpoints["diffusionllm"])
    first = DiffusionXlmr(folder, store=path)
    scores = first.loglikelihood(requests(PAIRS), disable_tqdm=True)
    asked = requests([("say red", {"until": ["\n"], "max_gen_toks": 6})], "generate_until")
    texts = first.generate_until(asked, disable_tqdm=True)
    assert first.tally.stored == 0 and first.tally.rows > 0
    second = DiffusionXlmr(folder, store=path)
    assert second.loglikelihood(requests(PAIRS), disable_tqdm=True) == scores
    assert second.generate_until(asked, disable_tqdm=True) == texts
    assert second.tally.rows == 0 and second.tally.stored == len(PAIRS) + 1 and second.tally.kind == first.tally.kind
    assert second.score_log == first.score_log
    changes: list[dict[str, Any]] = [
        {"seed": 7},
        {"rows": 16},
        {"scorer": "pll"},
        {"compat": "llada"},
        {"dtype": "bfloat16"},
    ]
    for change in changes:
        other = DiffusionXlmr(folder, store=path, **change)
        other.loglikelihood(requests(PAIRS[:2]), disable_tqdm=True)
        assert other.tally.stored == 0, change


def test_another_checkpoint_is_never_served(checkpoints, tmp_path):
    path = str(tmp_path / "answers.sqlite")
    mine, other = (NarXlmr(str(checkpoints[name]), store=path) for name in ("instruct_xmlr", "diffusionllm"))
    plain = NarXlmr(str(checkpoints["diffusionllm"]))
    first = mine.loglikelihood(requests(PAIRS), disable_tqdm=True)
    second = other.loglikelihood(requests(PAIRS), disable_tqdm=True)
    assert other.tally.stored == 0 and not np.allclose([s for s, _ in first], [s for s, _ in second])
    assert second == plain.loglikelihood(requests(PAIRS), disable_tqdm=True)


def test_the_autoregressive_adapter_uses_it_too(checkpoints, tmp_path):
    path, folder = str(tmp_path / "answers.sqlite"), str(checkpoints["bloomz"])
    texts = requests([("red blue green " * 40,), ("dog cat",)], "loglikelihood_rolling")
    asked = requests(
        [("say red", {"until": ["\n"], "max_gen_toks": 6}), ("say", {"until": [], "max_gen_toks": 4})], "generate_until"
    )
    answers = []
    for stored in (0, len(PAIRS) + 4):
        model = AR(folder, device="cpu", store=path)
        answers.append(
            [
                model.loglikelihood(requests(PAIRS), disable_tqdm=True),
                model.loglikelihood_rolling(texts, disable_tqdm=True),
                model.generate_until(asked, disable_tqdm=True),
            ]
        )
        assert model.tally.stored == stored
    plain = AR(folder, device="cpu")
    assert answers[0] == answers[1] and answers[0][0] == plain.loglikelihood(requests(PAIRS), disable_tqdm=True)
    half = AR(folder, device="cpu", store=path)
    more = [*PAIRS[:3], ("say moon", " tree"), *PAIRS[3:6]]
    mixed = half.loglikelihood(requests(more), disable_tqdm=True)
    assert np.allclose([s for s, _ in mixed[:3]], [s for s, _ in answers[0][0][:3]]) and half.tally.rows == 1


def test_windows_of_a_long_text_are_kept_as_they_are_done(checkpoints, tmp_path, monkeypatch):
    """Stopped in its middle, a long text goes on at the window that was not done; lm-eval's own cache sees texts only."""
    path, folder = str(tmp_path / "answers.sqlite"), str(checkpoints["bloomz"])
    texts = requests([(" ".join(f"red {n} blue" for n in range(300)),)], "loglikelihood_rolling")
    plain = AR(folder, device="cpu", batch_size=1)
    (whole,) = plain.loglikelihood_rolling(texts, disable_tqdm=True)
    windows = plain.tally.rows
    passes, forward = [], ExactScores.logits

    def stopped_at_the_third(self, *tensors, **named):
        passes.append(1)
        if len(passes) == 3:
            raise KeyboardInterrupt
        return forward(self, *tensors, **named)

    model = AR(folder, device="cpu", batch_size=1, store=path)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ExactScores, "logits", stopped_at_the_third)
        model.loglikelihood_rolling(texts, disable_tqdm=True)
    again = AR(folder, device="cpu", batch_size=1, store=path)
    told = []
    again.cache_hook.inner.add_partial = lambda method, request, answer: told.append((method, request))
    assert again.loglikelihood_rolling(texts, disable_tqdm=True) == [whole]
    assert again.tally.stored == 2 and again.tally.rows == windows - 2 > 1
    assert told == [("loglikelihood_rolling", texts[0].args)]


RUN = """
import sys
from lm_eval.api.instance import Instance
from harness.adapters.diffusion import DiffusionXlmr
words = "red blue green cat dog sun moon tree house fish".split()
pairs = [(f"say {a} {b}", f" {c} {a} {b} dog cat sun") for a in words for b in words for c in words[:4]]
model = DiffusionXlmr(sys.argv[1], store=sys.argv[2] or None, batch_size=8)
asked = [Instance("loglikelihood", {}, pair, i % 4, ("task", i // 4, 1)) for i, pair in enumerate(pairs)]
scores = model.loglikelihood(asked, disable_tqdm=True)
print("RESULT", model.tally.stored, [round(s, 4) for s, _ in scores])
"""


def count(path: Path) -> int:
    if not path.exists():
        return 0
    base = sqlite3.connect(path, timeout=60)
    try:
        return base.execute("SELECT count(*) FROM answers").fetchone()[0]
    except sqlite3.OperationalError:
        return 0
    finally:
        base.close()


@pytest.mark.slow
def test_a_killed_run_goes_on_and_two_at_once_agree(checkpoints, tmp_path):
    script, path = tmp_path / "run.py", tmp_path / "answers.sqlite"
    script.write_text(RUN)
    command = [sys.executable, str(script), str(checkpoints["diffusionllm"])]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    killed = subprocess.Popen([*command, str(path)], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 900
    while count(path) < 20 and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert killed.poll() is None, "it finished before it could be killed"
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    kept = count(path)
    assert 20 <= kept < 400
    both = [
        subprocess.Popen([*command, str(path)], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(2)
    ]
    lines = [p.communicate(timeout=900)[0].splitlines()[-1] for p in both]
    clean = subprocess.run([*command, ""], env=env, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    stored = [int(line.split()[1]) for line in lines]
    assert min(stored) >= kept and len({line.split("[")[1] for line in [*lines, clean]}) == 1
    assert count(path) == 400
