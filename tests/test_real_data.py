"""The suite on the real files: whole sets counted, files held against the official digests, every task answered."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from typing import Any

import pytest
from shared_files import REAL, needs_real
from small_files import write_manifest
from task_code import task_utils
from test_tasks import Oracle, run, runnable, values_of

from harness import data, mirror, registration, sandbox
from harness.catalogue import BBH_ROWS, BENCHMARKS, MMLU_ROWS
from harness.data_report import check_mirror
from harness.formats import direct_prompt
from harness.mirror import DataError

pytestmark = needs_real


@pytest.fixture(autouse=True)
def real(monkeypatch):
    monkeypatch.setenv("ANYORDER_DATA", str(REAL))


def documents(benchmark: str, subset: str, split: str) -> list[Any]:
    return data.documents_of(benchmark, subset, split)


COUNTS = {  # benchmark, split → subsets in the mirror, documents in all
    ("xnli", "validation"): (13, 13 * 624),
    ("xcopa", "validation"): (9, 900),
    ("xcopa", "test"): (8, 4000),  # without English COPA, whose test labels are hidden
    ("xwinograd", "test"): (6, 2325 + 83 + 959 + 263 + 315 + 16),
    ("mmlu", "test"): (57, 14042),
    ("mmlu", "dev"): (57, 285),
    ("bbh", "test"): (27, 6511),
    ("bbh_zero_shot", "test"): (27, 6511),
    ("mgsm", "test"): (8, 2000),
    ("z_bench", "test"): (3, 311),
    ("humaneval", "test"): (1, 164),
    ("wmt14", "test"): (2, 6006),
    ("gigaword_p3", "train"): (3, 300),
    ("diffusionllm_mmlu", "0-shot"): (57, 1140),
    ("diffusionllm_mmlu", "3-shot"): (56, 448),
    ("diffusionllm_bbh_nlp", "0-shot"): (12, 916),
    ("diffusionllm_bbh_nlp", "3-shot"): (10, 250),
    ("diffusionllm_tydiqa", "0-shot"): (11, 440),
    ("diffusionllm_tydiqa", "1-shot"): (8, 120),
    ("diffusionllm_mgsm", "0-shot"): (3, 750),
    ("diffusionllm_mgsm", "1-shot"): (3, 300),
    ("diffusionllm_mgsm", "3-shot"): (3, 300),
    ("diffusionllm_mgsm", "8-shot"): (3, 75),
    ("diffusionllm_iwslt14", "0-shot"): (2, 2500),
    ("diffusionllm_iwslt14", "1-shot"): (2, 400),
}


@pytest.mark.parametrize(("benchmark", "split"), COUNTS, ids=lambda value: value)
def test_whole_sets(benchmark, split):
    subset = "+".join("et id it sw th tr vi zh".split()) if (benchmark, split) == ("xcopa", "test") else "all"
    found = documents(benchmark, subset, split)
    assert (len({row["language"] for row in found}), len(found)) == COUNTS[benchmark, split]
    assert len({row["id"] for row in found}) == len(found)


@pytest.mark.parametrize(("shots", "kept", "skipped"), [(0, 890, 26), (3, 243, 7)])
def test_rows_without_a_target_are_counted_in_the_result(shots, kept, skipped):
    """DiffusionLLM published a quarter of the rows of one BBH-NLP task without targets: what was passed over is counted."""
    name = f"diffusionllm_bbh_nlp_{shots}shot"
    loaded = registration.task_manager([name]).load([name])
    docs = list(loaded["tasks"][name].eval_docs)
    assert len(docs) == kept and all(doc["targets"].strip() for doc in docs)
    numbers = [int(doc["id"].rsplit("/", 1)[1]) for doc in docs if doc["language"] == "reasoning_about_colored_objects"]
    assert len(numbers) < numbers[-1] + 1  # an id is the row's place in the file, with those left out
    passed_over = sum(doc["n_skipped"] for doc in docs[:20])
    assert sum(doc["n_skipped"] for doc in docs) == skipped
    values = values_of(run(RealOracle(), loaded, limit=20), [name])
    assert values[name, "n_skipped"] == passed_over and values[name, "exact_match"] == 1


def test_hidden_labels_are_refused():
    """English COPA's test file has the label 0 in all of its 500 rows: the first option would be always right."""
    with pytest.raises(DataError, match="'label' is 0 in all 500 rows: these are unlabelled test rows"):
        documents("xcopa", "en", "test")


def test_every_file_that_the_catalogue_knows_is_the_one_in_the_manifest():
    listed = mirror.manifest(REAL)
    known = {
        path
        for spec in BENCHMARKS.values()
        for subset in spec.subsets
        for split in spec.splits
        for path in (spec.mirror_file(subset, split), *spec.beside(subset, split))
        if (REAL / path).is_file()
    }
    assert known <= set(listed) and len(known) > 400
    for path, official in mirror.official_files().items():
        assert (REAL / path).stat().st_size == official.size and listed[path] == official.sha256, path
        assert mirror.digest(REAL / path) == official.sha256, path


def test_gold_labels_are_those_of_the_files():
    labels = Counter(row["label"] for row in documents("xnli", "sw", "validation"))
    assert labels == {0: 208, 1: 208, 2: 208}
    raw = [json.loads(line) for line in (REAL / "xcopa/th/test.th.jsonl").read_text(encoding="utf-8").splitlines()]
    ours = documents("xcopa", "th", "test")
    assert [(row["choice1"], row["choice2"], row["label"]) for row in ours] == [
        (row["choice1"], row["choice2"], row["label"]) for row in raw
    ]


def test_mmlu_agrees_with_diffusionllm_s_letters():
    """Two independent files: Hendrycks' choices and answers against DiffusionLLM's prompts and letters."""
    compared, nan = 0, 0
    for subject in MMLU_ROWS:
        ours = documents("mmlu", subject, "test")
        theirs = documents("diffusionllm_mmlu", subject, "0-shot")
        for own, other in zip(ours[: len(theirs)], theirs, strict=True):
            shown = squeezed(other["inputs"])
            assert squeezed(own["question"]) in shown
            missing = [choice for choice in own["choices"] if squeezed(choice) not in shown]
            assert missing in ([], ["None"])  # DiffusionLLM's files show the choice "None" as "nan"
            nan += len(missing)
            assert "ABCD"[own["answer"]] == other["targets"]
            compared += 1
    assert (compared, nan) == (1140, 2)


def test_mgsm_agrees_with_diffusionllm_s_numbers():
    for language in ("de", "en", "zh"):
        ours, theirs = documents("mgsm", language, "test"), documents("diffusionllm_mgsm", language, "0-shot")
        assert [row["answer"] for row in ours] == [row["targets"].strip("# ").replace(",", "") for row in theirs]


@pytest.mark.parametrize("language", ["de", "en", "zh"])
def test_mgsm_s_few_shot_prompts_are_those_that_diffusionllm_published(monkeypatch, tmp_path, language):
    """Its prompted files hold the authors' eight examples of three languages: exemplars.py is made again from them."""
    published = {shots: documents("diffusionllm_mgsm", language, f"{shots}-shot") for shots in (0, 1, 3, 8)}
    parts = published[8][0]["inputs"].strip("\n").split("\n\n")[:8]
    pairs = [dict(zip("qa", part.split("\n", 1), strict=True)) for part in parts]
    examples = {language: {str(number): pair for number, pair in enumerate(pairs, start=1)}}
    (tmp_path / "mgsm").mkdir()
    (tmp_path / "mgsm/exemplars.py").write_text(f"MGSM_EXEMPLARS = {examples!r}\n", encoding="utf-8")
    shutil.copy(REAL / f"mgsm/mgsm_{language}.tsv", tmp_path / "mgsm")
    monkeypatch.setenv("ANYORDER_DATA", str(tmp_path))
    name = f"anyorder_mgsm_{language}"
    task = registration.task_manager([name]).load([name])["tasks"][name]
    for shots, rows in published.items():
        ours = [task.fewshot_context(doc, shots) for doc in task.eval_docs]
        for row in rows:  # words are separated otherwise there
            number = next(
                n for n, doc in enumerate(task.eval_docs) if squeezed(doc["question"]) in squeezed(row["inputs"])
            )
            assert squeezed(ours[number]) == squeezed(row["inputs"])
        assert len(rows) == {0: 250, 1: 100, 3: 100, 8: 25}[shots]


def squeezed(text: str) -> str:
    """The text without white space."""
    return "".join(text.split())


def test_every_bbh_prompt_gives_three_bare_answers():
    for task in BBH_ROWS:
        document = documents("bbh", task, "test")[0]
        shown = direct_prompt(document["cot_prompt"])
        assert shown.count("\nA: ") == 3 and "step by step" not in shown and "canary" not in shown, task
        assert document["cot_prompt"].count("Let's think step by step") == 3


def test_unlabelled_copies_are_refused():
    with pytest.raises(DataError, match="has no answer: this copy is unlabelled"):
        documents("tydiqa", "fi", "validation")
    with pytest.raises(DataError, match="test-de.tsv, line 1: two columns: these are unlabelled test rows"):
        documents("xnli", "de", "test")


def _lines(raw: bytes) -> list[bytes]:
    return raw.removesuffix(b"\n").split(b"\n")


OTHER_BYTES = "truncated, re-ordered or edited"
DAMAGES = {  # what is done to the bytes of which file, and what the sentence says of it
    "two rows exchanged": (("mgsm", "de", "test"), "mgsm/mgsm_de.tsv", OTHER_BYTES,
                           lambda raw: b"\n".join([_lines(raw)[1], _lines(raw)[0], *_lines(raw)[2:], b""])),
    "reversed": (("mgsm", "de", "test"), "mgsm/mgsm_de.tsv", OTHER_BYTES, lambda raw: b"\n".join(_lines(raw)[::-1])),
    "truncated": (("mgsm", "de", "test"), "mgsm/mgsm_de.tsv", OTHER_BYTES, lambda raw: b"\n".join(_lines(raw)[:100])),
    "sorted": (("xcopa", "et", "test"), "xcopa/et/test.et.jsonl", OTHER_BYTES, lambda raw: b"\n".join(sorted(_lines(raw)))),
    "fifty rows twice": (("xcopa", "et", "validation"), "xcopa/et/val.et.jsonl", OTHER_BYTES,
                         lambda raw: b"\n".join([*_lines(raw)[:50], *_lines(raw)[:50], b""])),
    "carriage returns": (("xcopa", "et", "validation"), "xcopa/et/val.et.jsonl", "only the line ends differ",
                         lambda raw: raw.replace(b"\n", b"\r\n")),
    "line feeds only": (("xcopa", "et", "validation"), "xcopa/et/val.et.jsonl", "only the line ends differ",
                        lambda raw: raw.replace(b"\r\n", b"\n")),
    "no last line end": (("xcopa", "et", "validation"), "xcopa/et/val.et.jsonl", "only the line ends differ",
                         lambda raw: raw.replace(b"\r\n", b"\n").rstrip()),
    "line feeds in a CSV": (("z_bench", "emergent", "test"), "z_bench/emergent.samples.csv", "only the line ends differ",
                            lambda raw: raw.replace(b"\r\n", b"\n")),
    "line feeds become CRLF": (("mgsm", "de", "test"), "mgsm/mgsm_de.tsv", "only the line ends differ",
                               lambda raw: raw.replace(b"\n", b"\r\n").rstrip()),
    "misaligned pairs": (("wmt14", "de-en", "test"), "wmt14_de_en/newstest2014.de.txt", OTHER_BYTES,
                         lambda raw: b"\n".join(sorted(_lines(raw)))),
    "a prompt cut": (("bbh", "snarks", "test"), "bbh/cot-prompts/snarks.txt", OTHER_BYTES, lambda raw: raw[:-100]),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_unless_it_is_listed(monkeypatch, tmp_path, damage):
    """Whatever its size: what `load` refuses is what `harness data --check` calls changed, in the same sentence."""
    (benchmark, subset, split), name, said, change = DAMAGES[damage]
    for path in (BENCHMARKS[benchmark].mirror_file(subset, split), *BENCHMARKS[benchmark].beside(subset, split)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REAL / path, tmp_path / path)
    monkeypatch.setenv("ANYORDER_DATA", str(tmp_path))
    assert documents(benchmark, subset, split) == _with_real(monkeypatch, benchmark, subset, split)
    monkeypatch.setenv("ANYORDER_DATA", str(tmp_path))
    (tmp_path / name).write_bytes(change((tmp_path / name).read_bytes()))
    with pytest.raises(
        DataError, match=rf"{name} is not its authors' file: expected .*\({said}\). Copy it again"
    ) as error:
        documents(benchmark, subset, split)
    checks = [check for check in check_mirror(tmp_path) if check.path == name]
    assert checks and all((check.state, check.fault) == ("changed", str(error.value)) for check in checks)
    write_manifest(tmp_path)
    assert documents(benchmark, subset, split)
    assert {check.state for check in check_mirror(tmp_path) if check.path == name} == {"subset"}


def _with_real(monkeypatch, benchmark: str, subset: str, split: str) -> list[Any]:
    monkeypatch.setenv("ANYORDER_DATA", str(REAL))
    return documents(benchmark, subset, split)


def test_every_task_whose_files_are_here_is_answered_rightly():
    manager = registration.task_manager(["mini_nli"])
    names = [name for name in runnable(manager) if not name.startswith("mini_") and held(manager, name)]
    assert len(names) >= 28 + 5 + 4 + 4 + 8 + 3 + 2 + 14
    result = run(RealOracle(), manager.load(names), limit=20)
    values = values_of(result, names)
    measured = {
        "language_agreement",
        "n_unidentified",
        "characters",
        "answered",
        "timeout",
        "n_skipped",
        "rouge_2",
        "chrf",
    }
    wrong = {
        key: value
        for key, value in values.items()
        if key[1] not in measured and value not in (pytest.approx(1.0), pytest.approx(100.0))
    }
    assert wrong == {}
    assert {"xp3_xnli_sw", "anyorder_mmlu", "diffusionllm_mgsm_8shot", "anyorder_z_bench_common"} <= set(names)


def held(manager: Any, name: str) -> bool:
    """Whether the mirror has usable files of a task (its TyDiQA files are unlabelled)."""
    arguments = manager.task_index[name].cfg["dataset_kwargs"]
    spec = BENCHMARKS[arguments["benchmark"]]
    return arguments["benchmark"] != "tydiqa" and data.in_mirror(spec, REAL, arguments["subset"], arguments["split"])


class RealOracle(Oracle):
    """Answers from the documents' own columns; MMLU's from its answer key."""

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
        mmlu = {id(r): r for r in requests if "subject" in r.doc}
        rest = iter(super().loglikelihood([r for r in requests if id(r) not in mmlu]))
        return [self._mmlu(r) if id(r) in mmlu else next(rest) for r in requests]

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> Any:
        return [r.doc.get("canonical_solution") or super(RealOracle, self).generate_until([r])[0] for r in requests]

    @staticmethod
    def _mmlu(request: Any) -> tuple[float, bool]:
        return (0.0 if request.idx == request.doc["gold"] else -99.0, True)


# -- HumanEval


def test_the_canonical_solutions_are_programs():
    utils = task_utils("humaneval")
    for document in documents("humaneval", "python", "test"):
        compile(utils.program_of(document, document["canonical_solution"]), document["task_id"], "exec")


@pytest.mark.skipif(bool(sandbox.problem()), reason=sandbox.problem() or "-")
def test_all_canonical_solutions_pass_in_the_sandbox():
    utils = task_utils("humaneval")
    found = documents("humaneval", "python", "test")
    outcomes = sandbox.run_programs([utils.program_of(row, row["canonical_solution"]) for row in found])
    assert {row["task_id"]: outcome for row, outcome in zip(found, outcomes, strict=True) if not outcome.passed} == {}
    broken = [utils.program_of(row, "    return None\n") for row in found[:10]]
    assert not any(outcome.passed for outcome in sandbox.run_programs(broken))
