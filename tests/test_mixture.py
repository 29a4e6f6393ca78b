"""Mixtures: formats, guards, caps, duplicates, shares within one row, a manifest of every row, broken files."""

import gzip
import json
import pkgutil
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from harness.config import ConfigError
from harness.records import RecordError
from trainers.composition import allot, copies, rank_in_group, repeats, shuffled_keys
from trainers.mixture import MIXTURE, ROWS, build
from trainers.mixture_files import records_of
from trainers.mixture_speed import measure
from trainers.recipe import MixtureSpec, TrainingSpec
from trainers.shards import tokenise
from trainers.sources import SourceSpec, stream
from trainers.survey import held

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"


def jsonl(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def source(name: str, kind: str, *files: str, **more) -> SourceSpec:
    return SourceSpec(name=name, format=kind, files=files, **more)  # type: ignore[arg-type]


def spec(*sources: SourceSpec, **more) -> MixtureSpec:
    return MixtureSpec(source="sources", sources=sources, **more)


def rows_of(path: Path) -> list[dict]:
    import pyarrow.parquet as pq

    return pq.read_table(path / ROWS).to_pylist()


FORMATS = {
    "xp3": ({"inputs": "a", "targets": "b", "language": "sw"}, ("a", "", "b", [])),
    "flan": ({"inputs": "a", "targets": "b", "task_name": "t"}, ("a", "", "b", [])),
    "p3": ({"prompt": "a", "completion": " b<|endoftext|>"}, ("a", "", "b", [])),
    "alpaca": ({"instruction": "a", "input": "c", "output": "b"}, ("a", "c", "b", [])),
    "belle": ({"instruction": "a", "input": "", "output": "b"}, ("a", "", "b", [])),
    "dolly": ({"instruction": "a", "context": "c", "response": "b", "category": "qa"}, ("a", "c", "b", [])),
    "messages": ({"messages": [{"role": r, "content": x} for r, x in zip(["user", "assistant"] * 2, "uvab", strict=True)]}, ("a", "", "b", [("u", "v")])),
    "lima": ({"conversations": ["u", "v", "a", "b"], "source": "s"}, ("a", "", "b", [("u", "v")])),
    "chat": ({"input": ["u", "a"], "output": ["v", "b"]}, ("a", "", "b", [("u", "v")])),
    "self_instruct": ({"instruction": "a", "instances": [{"input": "c", "output": "b"}]}, ("a", "c", "b", [])),
    "qa": ({"question": "a", "std_answer": "b"}, ("a", "", "b", [])),
}  # fmt: skip


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read(tmp_path, kind):
    row, (inputs, context, targets, history) = FORMATS[kind]
    (_, _, number, record), *rest = stream([source("s", kind, jsonl(tmp_path / "a.jsonl", [row]))])
    assert not rest and number == 1 and record["dataset"] == "s"
    found = (record["inputs"], record.get("context", ""), record["targets"], record.get("history", []))
    assert found == (inputs, context, targets, history)
    assert record.get("language") == row.get("language")
    broken = jsonl(tmp_path / "b.jsonl", [row, {"nothing": "here"}])
    with pytest.raises(ConfigError, match=r"b\.jsonl, row 2: not a row of format"):
        list(stream([source("s", kind, broken)]))


def test_json_lists_csv_and_gzip_are_read(tmp_path):
    row = {"instruction": "a, b\nc", "input": "", "output": "d"}
    (tmp_path / "a.json").write_text(json.dumps([row]))
    (tmp_path / "b.csv").write_text('instruction,input,output\n"a, b\nc",,d\n')
    with gzip.open(tmp_path / "c.jsonl.gz", "wt") as file:
        file.write(json.dumps(row) + "\n")
    files = [str(tmp_path / name) for name in ("a.json", "b.csv", "c.jsonl.gz")]
    assert [r["inputs"] for _, _, _, r in stream([source("s", "alpaca", *files)])] == ["a, b\nc"] * 3


def test_a_cut_off_file_is_a_sentence(tmp_path):
    whole = gzip.compress(json.dumps({"inputs": "a", "targets": "b"}).encode() * 50)
    (tmp_path / "a.jsonl.gz").write_bytes(whole[:-12])
    (tmp_path / "b.jsonl").write_text('{"inputs": "a", "targets": "b"}\n{"inputs": "a", "tar')
    for name, sentence in [("a.jsonl.gz", "cut off"), ("b.jsonl", r"b\.jsonl, line 2: not JSON")]:
        with pytest.raises(ConfigError, match=sentence):
            build(spec(source("s", "xp3", str(tmp_path / name))), tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


def test_a_hub_source_needs_a_commit():
    with pytest.raises(ValueError, match="revision"):
        SourceSpec(name="s", format="xp3", hub={"id": "x/y", "revision": "main"})  # type: ignore[arg-type]


def test_every_row_is_in_the_manifest_with_its_reason(tmp_path):
    rows = [{"inputs": f"q {i}", "targets": f"a {i}", "dataset": "ours", "template": "t"} for i in range(20)]
    rows += [{**rows[3]}, {"inputs": "x", "targets": "y", "dataset": "super_glue/rte"}, {"inputs": " ", "targets": "y"}]
    rows += [{"inputs": "see " + " ".join(f"word{i}" for i in range(13)), "targets": "z"}]
    guard = jsonl(tmp_path / "eval.jsonl", [{"question": " ".join(f"Word{i}," for i in range(14))}])
    file = jsonl(tmp_path / "a.jsonl", rows)
    plan = spec(source("s", "xp3", file), held_out=("rte",), guard=(guard,), cap=12, validation=0.25)
    summary = build(plan, tmp_path / "out")
    lines = rows_of(tmp_path / "out")
    assert [line["row"] for line in lines] == list(range(1, 25))
    assert [line["outcome"] for line in lines[20:]] == [
        "duplicate",
        "held out",
        "no text",
        "shares text with evaluation",
    ]
    count = Counter(line["outcome"] for line in lines)
    assert count["cap"] == 8 and count["kept"] + count["validation"] == 12
    assert summary["rows"] == {name: count.get(name, 0) for name in summary["rows"]}
    kept = {line["row"] for line in lines if line["outcome"] == "kept"}
    found = [record for batch in records_of(tmp_path / "out") for record in batch]
    assert [record["inputs"] for record in found] == [rows[row - 1]["inputs"] for row in sorted(kept)]
    before = (tmp_path / "out" / MIXTURE).read_bytes()
    assert build(plan, tmp_path / "out") == summary and (tmp_path / "out" / MIXTURE).read_bytes() == before
    assert build(plan, tmp_path / "again")["shards"] == summary["shards"]
    shard = tmp_path / "out" / "train-00000.arrow"
    shard.write_bytes(shard.read_bytes()[:-8])
    with pytest.raises(ConfigError, match=r"train-00000.arrow is missing or was changed"):
        build(plan, tmp_path / "out")


def test_held_out_names_match_their_own_family_only():
    assert held("XNLI", {"xnli"}) and held("xnli_en", {"xnli"}) and held("super_glue/cb", {"cb"})
    assert not held("xnliish", {"xnli"}) and not held("scitail", {"xnli"})


def test_validation_never_shares_a_document_with_training(tmp_path):
    rows = [{"inputs": f"q{i}", "targets": "a", "document": f"d{i % 40}"} for i in range(400)]
    build(spec(source("s", "xp3", jsonl(tmp_path / "a.jsonl", rows)), validation=0.3), tmp_path / "out")
    documents = [
        {record["document"] for batch in records_of(tmp_path / "out", stem) for record in batch}
        for stem in ("train", "validation")
    ]
    assert all(documents) and not documents[0] & documents[1] and len(documents[0] | documents[1]) == 40


def test_a_share_keeps_language_task_and_template_within_one_row(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        {"inputs": f"q{i}", "targets": "a", "language": str(rng.choice(["en", "es", "sw"], p=[0.7, 0.25, 0.05])),
         "task": f"t{rng.integers(4)}", "template": f"p{rng.integers(5)}"}
        for i in range(3000)
    ]  # fmt: skip
    build(spec(source("s", "xp3", jsonl(tmp_path / "a.jsonl", rows)), records=731), tmp_path / "out")
    kept = [record for batch in records_of(tmp_path / "out") for record in batch]
    assert len(kept) == 731
    for keys in (("language",), ("language", "task"), ("language", "task", "template")):
        whole, part = (Counter(tuple(r[key] for key in keys) for r in some) for some in (rows, kept))
        assert all(abs(part[name] - whole[name] * 731 / 3000) < 1 for name in whole)


def test_jobs_that_share_a_mixture_make_it_once(tmp_path, monkeypatch, tokenizer):
    rows = [{"inputs": f"say red {i}", "targets": "red cat"} for i in range(20)]
    plan, mixture = spec(source("s", "xp3", jsonl(tmp_path / "a.jsonl", rows))), tmp_path / "mixtures" / "m"
    training = TrainingSpec(steps=1, learning_rate=1e-3, max_length=64)
    jobs = {
        "trainers.mixture._write": lambda _: build(plan, mixture)["training_rows"],
        "trainers.shards._write": lambda _: len(tokenise(mixture, tokenizer, "t", "plain", training)),
    }
    for name, job in jobs.items():
        write, calls = pkgutil.resolve_name(name), []

        def slow(*arguments, write=write, calls=calls):
            calls.append(arguments)
            time.sleep(0.5)  # long enough for the other job to come in, were it let in
            return write(*arguments)

        monkeypatch.setattr(name, slow)
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(job, range(2))) == [20, 20]
        assert len(calls) == 1
    assert not list(tmp_path.rglob("*.partial"))
    tokens = next(mixture.glob("tokens-*/tokens-00000.arrow"))
    tokens.write_bytes(tokens.read_bytes()[:-8])
    with pytest.raises(ConfigError, match=r"tokens-00000.arrow is missing or was changed"):
        tokenise(mixture, tokenizer, "t", "plain", training)


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    plan = spec(source("s", "xp3", jsonl(tmp_path / "a.jsonl", [{"inputs": "a", "targets": "b"}])))
    for folder in (tmp_path / "a.jsonl", tmp_path / "a.jsonl" / "out"):
        with pytest.raises(RecordError, match=f"cannot write {folder}: .*Free space or choose"):
            build(plan, folder)
    assert (tmp_path / "a.jsonl").is_file() and not (tmp_path / "a.jsonl.partial").exists()


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    one = spec(source("a", "xp3", jsonl(tmp_path / "a.jsonl", [{"inputs": "x", "targets": "y"}])))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(RecordError, match="holds no mixture.json, so it is not replaced"):
        build(one, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    assert build(one, tmp_path / "empty") == build(one, tmp_path / "empty")


def test_weights_repeat_rows(tmp_path):
    one = jsonl(tmp_path / "a.jsonl", [{"inputs": f"a{i}", "targets": "x"} for i in range(100)])
    two = jsonl(tmp_path / "b.jsonl", [{"inputs": f"b{i}", "targets": "x"} for i in range(50)])
    summary = build(
        spec(source("one", "xp3", one, weight=1.3), source("two", "xp3", two, weight=2.5)), tmp_path / "out"
    )
    assert summary["composition"]["source"] == {"one": 130, "two": 125} and summary["training_rows"] == 255
    taken = {r["inputs"]: r["copies"] for batch in records_of(tmp_path / "out") for r in batch}
    assert set(taken.values()) == {1, 2, 3} and len(taken) == 150


def test_quotas_become_whole_numbers_at_every_level():
    rng = np.random.default_rng(1)
    for _ in range(20):
        mass = {(a, b, c): float(rng.random()) for a in "xyz" for b in "tuv" for c in "pq" if rng.random() < 0.8}
        total = int(rng.integers(1, 60))
        scale = total / sum(mass.values())
        given = allot({key: value * scale for key, value in mass.items()}, total)
        assert sum(given.values()) == total
        for level in range(1, 4):
            for prefix in {key[:level] for key in mass}:
                exact = sum(v * scale for k, v in mass.items() if k[:level] == prefix)
                assert abs(sum(n for k, n in given.items() if k[:level] == prefix) - exact) < 1 + 1e-9
    with pytest.raises(ValueError, match="quotas sum"):
        allot({("a",): 1.0}, 2)


def test_ranks_repeats_and_keys_against_brute_force():
    rng = np.random.default_rng(2)
    group, key = rng.integers(0, 4, 60), rng.integers(0, 9, 60)
    for i in range(60):
        before = [j for j in range(60) if group[j] == group[i] and (key[j], j) < (key[i], i)]
        assert rank_in_group(group, key)[i] == len(before)
    digest = rng.integers(0, 20, 60).astype(np.uint64)
    assert repeats(digest).tolist() == [digest[i] in digest[:i] for i in range(60)]
    keys = shuffled_keys(np.arange(20000, dtype=np.uint64), 3)
    assert len(set(keys.tolist())) == 20000 and abs(float((keys < np.uint64(2**63)).mean()) - 0.5) < 0.02
    assert copies(group, key.astype(np.uint64), np.ones(60), [(str(g),) for g in range(4)], 200).sum() == 200


@pytest.mark.skipif(not REAL.is_dir(), reason="the mirror of public files is not beside the checkout")
def test_public_files_are_read_as_they_are(tmp_path):
    files = {
        "alpaca": ("alpaca", "alpaca/random_9k.json", 9229), "zh": ("alpaca", "alpaca_zh/zh-data-part-00.json", 5000),
        "belle": ("self_instruct", "belle/zh_seed_tasks.json", 175), "belle_eval": ("qa", "belle/eval_set.json", 1000),
        "lima": ("lima", "lima/lima_data.jsonl", 1030), "dolly": ("messages", "alpagasus/alpagasus_3k_dolly.jsonl", 2996),
        "p3": ("p3", "p3_t0_samples/sciq_Multiple_Choice.jsonl", 50), "chat": ("chat", "chinese_vicuna/chat/data_sample.jsonl", 3),
        "seeds": ("self_instruct", "self_instruct/seed_tasks.jsonl", 175),
        "mmlu": ("xp3", "diffusionllm_instruct/mmlu/0-shot/test/anatomy.jsonl", 20),
    }  # fmt: skip
    sources = [source(name, kind, str(REAL / path)) for name, (kind, path, _) in files.items()]
    build(spec(*sources), tmp_path / "out")
    count = Counter(line["source"] for line in rows_of(tmp_path / "out"))
    assert count == {name: rows for name, (_, _, rows) in files.items()}
    long = [r for batch in records_of(tmp_path / "out") for r in batch if r["dataset"] == "lima" and r["history"]]
    assert len(long) == 30  # 1,000 of LIMA's 1,030 rows have one question and one answer


def test_the_measured_mixture_is_a_real_one(tmp_path):
    found = measure(3000, tmp_path)
    count = Counter(line["outcome"] for line in rows_of(tmp_path / "mixture"))
    assert sum(count.values()) == found.rows == 3000 and count["kept"] == found.kept > 0
    assert {"duplicate", "held out", "cap", "share", "validation"} <= set(count)
    assert found.processor > 0 and found.peak > 10_000_000 and found.read == (tmp_path / "rows.jsonl").stat().st_size
