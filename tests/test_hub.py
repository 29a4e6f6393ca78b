"""Documents from the hub: its real client against a server on this machine, one file at a commit, one sentence for a fault."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hub_server import parquet_file
from shared_files import REAL, needs_real
from small_files import XCOPA_ROWS

from harness import data
from harness.benchmarks import hub_place
from harness.catalogue import BENCHMARKS, REVISIONS
from harness.mirror import DataError

XCOPA: dict[str, Any] = {"benchmark": "xcopa", "subset": "sw", "split": "validation"}
HUNDRED = [{**row, "idx": i, "changed": False} for i, row in enumerate(XCOPA_ROWS * 50)]
MGSM_TEST = "".join(f"Frage {n}?\t1,{n:03d}\n" for n in range(250)).encode()


def documents_of(benchmark: str, subset: str, split: str, **settings: Any) -> list[Any]:
    return list(data.load(benchmark=benchmark, subset=subset, split=split, **settings)[split])


def test_one_file_is_asked_for_at_its_commit(hub):
    hub.put(**XCOPA, content=parquet_file(HUNDRED))
    documents = data.load(**XCOPA)["validation"]
    spec, place = BENCHMARKS["xcopa"], hub_place(BENCHMARKS["xcopa"], "sw", "validation")
    assert set(hub.asked) == {place} and place[0] == "cambridgeltl/xcopa"
    assert len(documents) == 100 and documents[1]["choice2"] == "It rained."
    assert set(documents.column_names) == set(spec.columns) | {"id", "source", "source_id", "language"}
    assert documents[0]["source"] == "hub:{}@{}/{}".format(*place)


def test_what_was_downloaded_is_read_without_the_network(hub, monkeypatch):
    hub.put(**XCOPA, content=parquet_file(HUNDRED))
    first = list(data.load(**XCOPA)["validation"])
    hub.stop()
    assert list(data.load(**XCOPA)["validation"]) == first
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert list(data.load(**XCOPA)["validation"]) == first


def test_every_hub_file_is_at_a_full_commit_and_is_parquet_or_its_authors():
    repositories, published = set(), set()
    for name, spec in BENCHMARKS.items():
        for subset in spec.subsets:
            for split in spec.splits if spec.hub_file else ():
                repository, _, path = hub_place(spec, subset, split)
                assert re.fullmatch(r"[\w-]+/[\w-]+", repository)
                repositories.add(repository)
                if not path.endswith(".parquet"):
                    published.add(name)
                    assert Path(path).name == Path(spec.mirror_file(subset, split)).name
    assert published == {"mgsm"}  # no commit with a parquet copy of all its languages is known
    assert repositories == set(REVISIONS)
    assert all(re.fullmatch(r"[0-9a-f]{40}", commit) for commit in REVISIONS.values())


@pytest.mark.parametrize(
    ("benchmark", "subset", "split", "row", "expected"),
    [
        ("mmlu", "anatomy", "dev", {"question": "q", "subject": "anatomy", "choices": list("abcd"), "answer": 2}, {"answer": 2}),
        ("bbh_zero_shot", "snarks", "test", {"input": "i", "target": "(A)"}, {"task": "snarks"}),
        ("wmt14", "en-de", "test", {"translation": {"de": "eins", "en": "one"}}, {"text": "one", "reference": "eins"}),
        ("tydiqa", "fi", "validation", {"id": "finnish-1-0", "title": "t", "context": "c", "question": "q", "answers": {"text": ["a", "a"], "answer_start": [0, 0]}}, {"answers": ["a"], "question_id": "finnish-1-0"}),
        ("mlsum", "ru", "test", {"text": "t", "summary": "s", "topic": "x", "url": "u", "title": "n", "date": "d"}, {"text": "t", "summary": "s"}),
        ("xlsum", "kyrgyz", "test", {"id": "1", "url": "u", "title": "n", "summary": "s", "text": "t"}, {"text": "t", "summary": "s"}),
    ],
)  # fmt: skip
def test_rows_of_parquet_files(hub, benchmark, subset, split, row, expected):
    count = BENCHMARKS[benchmark].rows(subset, split)
    assert count is not None
    others = [{**row, "id": f"thai-{n}"} for n in range(3)] if benchmark == "tydiqa" else []
    hub.put(benchmark, subset, split, parquet_file([row] * count + others))
    found = documents_of(benchmark, subset, split)
    assert len(found) == count and {name: found[0][name] for name in expected} == expected


def test_the_authors_own_file_is_read_as_in_a_mirror(hub):
    hub.put("mgsm", "de", "test", MGSM_TEST)
    hub.put("mgsm", "de", "train", b"MGSM_EXEMPLARS = {'de': {str(n): 1 for n in ()}}\n")
    found = documents_of("mgsm", "de", "test")
    assert [found[7][name] for name in ("question", "answer")] == ["Frage 7?", "1007"]
    assert found[0]["source"] == f"hub:juletxara/mgsm@{REVISIONS['juletxara/mgsm']}/mgsm_de.tsv"
    with pytest.raises(DataError, match=r"exemplars.py: expected Python literals"):  # never run
        documents_of("mgsm", "de", "train")


def test_another_commit_is_asked_for_by_name(hub):
    hub.put("mgsm", "de", "test", MGSM_TEST, revision="f" * 40)
    documents_of("mgsm", "de", "test", data_revisions={"juletxara/mgsm": "f" * 40})
    assert set(hub.asked) == {("juletxara/mgsm", "f" * 40, "mgsm_de.tsv")}
    with pytest.raises(
        DataError, match=r"MGSM \(de\) at juletxara/mgsm@f52417ca77bd/mgsm_de.tsv: the hub gave no file"
    ):
        documents_of("mgsm", "de", "test")


def test_what_the_hub_does_not_have_is_never_looked_for_there(hub):
    with pytest.raises(DataError, match="Z-Bench has no copy on the hub that may be used: set ANYORDER_DATA"):
        documents_of("z_bench", "common", "test")
    assert hub.asked == []


def test_a_hub_out_of_reach_and_one_that_refuses_are_told_apart(hub, monkeypatch):
    where = r"^XCOPA \(sw\) at cambridgeltl/xcopa@d36092ac1529/sw/validation/0000.parquet: "
    advice = r" Set ANYORDER_DATA=DIR to read a local mirror \(python -m harness data --fetch xcopa --into DIR makes one\)\.$"
    with pytest.raises(DataError, match=where + r"the hub gave no file \(404.*\)\." + advice):
        data.load(**XCOPA)
    hub.status = 401
    with pytest.raises(DataError, match=where + r"the hub gave no file \(.*401 Unauthorized.*\)\." + advice):
        data.load(**XCOPA)
    for status in (403, 429, 503):
        hub.status = status
        with pytest.raises(DataError, match=where + rf"the hub gave no file \(.*{status}.*\)\." + advice):
            data.load(**XCOPA)
    hub.stop()
    with pytest.raises(DataError, match=where + r"the hub could not be reached \(.*\)\." + advice):
        data.load(**XCOPA)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=where + r"the hub could not be reached \(.*\)\." + advice):
        data.load(**XCOPA)


def test_a_copy_that_is_not_as_published(hub):
    hub.put("xcopa", "en", "validation", parquet_file([dict(XCOPA_ROWS[0])]))
    with pytest.raises(DataError, match="1 rows, expected 100"):
        documents_of("xcopa", "en", "validation")
    hub.put("xnli", "en", "validation", parquet_file([{"premise": "a", "hypothesis": "b"}]))
    with pytest.raises(DataError, match="item 1: no column label"):
        documents_of("xnli", "en", "validation")
    hub.put("wmt14", "de-en", "test", parquet_file([{"de": "eins", "en": "one"}]))
    with pytest.raises(
        DataError, match=r"row 1: another shape than expected \(KeyError\('translation'\)\); there are de, en"
    ):
        documents_of("wmt14", "de-en", "test")


def test_a_damaged_download_can_be_mended_as_the_error_says(hub):
    hub.put(**XCOPA, content=parquet_file(HUNDRED)[:-200])
    with pytest.raises(DataError, match=r"0000.parquet: not a whole parquet file \(.*\); delete .* and try") as raised:
        data.load(**XCOPA)
    hub.put(**XCOPA, content=parquet_file(HUNDRED))
    found = re.search(r"delete (\S+) and try again", str(raised.value))
    assert found
    Path(found[1]).unlink()
    assert len(data.load(**XCOPA)["validation"]) == 100


@needs_real
@pytest.mark.parametrize("subset", ["de", "ja"])
def test_real_files_give_the_same_documents_from_both_places(hub, subset):
    hub.put("mgsm", subset, "test", (REAL / f"mgsm/mgsm_{subset}.tsv").read_bytes())
    known = ("question", "answer", "id", "source_id", "language")
    from_hub, from_mirror = (documents_of("mgsm", subset, "test", data=place) for place in ("hub", str(REAL)))
    assert [[d[key] for key in known] for d in from_hub] == [[d[key] for key in known] for d in from_mirror]
