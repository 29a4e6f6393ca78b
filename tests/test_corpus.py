"""Documents of the embedded corpus: checked against its manifest, and one clear sentence for every fault."""

from __future__ import annotations

import pytest
from small_files import corpus_document, write_corpus

from harness import corpus as corpus_module
from harness.mirror import DataError


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.setenv("ANYORDER_CORPUS", str(tmp_path))
    return write_corpus(tmp_path)


def test_corpus_documents(corpus):
    dataset = corpus_module.load_corpus(evaluation="nli", pretrained="whatever", version=1.0)["test"]
    assert len(dataset) == 4 and dataset[1] == corpus_document("nli", 1)


def test_no_corpus_says_make_tables(monkeypatch, tmp_path):
    monkeypatch.setenv("ANYORDER_CORPUS", str(tmp_path))
    with pytest.raises(DataError, match="no manifest.json.*make tables.*ANYORDER_CORPUS=DIR"):
        corpus_module.corpus("nli")


def test_a_corpus_without_the_set(corpus):
    with pytest.raises(DataError, match="has no eval/poetry.jsonl; it lists eval/copa.jsonl"):
        corpus_module.corpus("poetry")


def test_a_changed_or_damaged_corpus_is_refused(corpus):
    path = corpus / "eval" / "nli.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="nli.jsonl is not the file that manifest.json lists"):
        corpus_module.corpus("nli")
    path.unlink()
    with pytest.raises(DataError, match="cannot read .*nli.jsonl"):
        corpus_module.corpus("nli")
    (corpus / "manifest.json").write_text('{"fil')
    with pytest.raises(DataError, match="manifest.json is damaged"):
        corpus_module.corpus("nli")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gold": 1}, r"choices\[gold\] should be the target"),
        ({"gold": 2}, r"choices\[gold\] should be the target"),
        ({"inputs": ""}, "inputs should be texts"),
        ({"valid": ["else"]}, "not among the valid answers"),
    ],
)
def test_corpus_documents_are_checked(change, message):
    document = {**corpus_document("nli", 1), **change}
    with pytest.raises(DataError, match="here: .*" + message):
        corpus_module._check_corpus_document(document, set(document), "here")
