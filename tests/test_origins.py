"""`python -m harness data --fetch`: mirrors filled from public repositories (a server on this machine stands for them)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from http_server import LocalServer, Reply
from shared_files import REAL, needs_real
from small_files import write_mirror

from harness import mirror, origins
from harness.benchmarks import files_of
from harness.catalogue import BENCHMARKS
from harness.data import documents_of
from harness.data_report import check_mirror, sources_table
from harness.mirror import DataError, OfficialFile
from harness.origins import ORIGINS, fetch, fetch_report, fetchable, origin_of


class Origins(LocalServer):
    """Serves `files` (path below the address → bytes); `cut` are answered with fewer bytes than they announce."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: set[str] = set()
        super().__init__(self._answer)

    def _answer(self, path: str, _: bytes) -> Reply:
        body = self.files.get(path)
        if body is None:
            return Reply(404, length=0)
        return Reply(200, body[: -1 if path in self.cut else None], length=len(body))

    def offer(self, root: Path, paths: list[str]) -> None:
        """Serve the files of a mirror under the addresses of their origins."""
        for path in paths:
            if (root / path).is_file():
                self.files[address(path)] = (root / path).read_bytes()


def address(path: str) -> str:
    """Where a mirror file lies below the server's address."""
    origin = origin_of(path)
    assert origin is not None
    return origin.url(path, "")


@pytest.fixture
def server():
    with Origins() as served:
        yield served


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A made-up mirror of every benchmark; none of its files is one of the published bytes."""
    monkeypatch.setattr("harness.mirror.official_files", dict)
    return write_mirror(tmp_path / "published")


def test_addresses_are_pinned_and_every_origin_is_of_use():
    for origin in ORIGINS:
        repository, _, commit = origin.repository.partition("@")
        assert repository.count("/") == 1 and len(commit) == 40 and int(commit, 16)
        assert any(origin_of(path) is origin for spec in BENCHMARKS.values() for path in files_of(spec))
    assert address("mgsm/mgsm_sw.tsv") == (
        "google-research/url-nlp/452a21ad3dae5668c06ceeac21ff073e1e40f9be/mgsm/mgsm_sw.tsv"
    )
    assert address("xcopa/en/val-en.jsonl").endswith("/data/xcopa/val-en.jsonl")
    assert address("xcopa/sw/val.sw.jsonl").endswith("e2e9d7f105a758ee869cd13e0fe251ef93a29840/data/sw/val.sw.jsonl")
    assert address("bbh/cot-prompts/snarks.txt").endswith(
        "9ee07bd481feebf959a6b59d61ea57bdcf30964d/cot-prompts/snarks.txt"
    )
    assert address("wmt14_de_en/newstest2014.de.txt").endswith("/2014/de-en/newstest2014.de")
    unlabelled = ("xnli/test-en.tsv", "xcopa/en/test-en.jsonl", "tydiqa_goldp/tydiqa.goldp.en.dev.json")
    assert not any(origin_of(path) for path in unlabelled)


def test_what_is_fetched_is_the_mirror(server, published, tmp_path, monkeypatch):
    """Every file that has an origin arrives with its bytes, is listed, and loads as from the mirror it was copied from."""
    files = [path for name in BENCHMARKS for path in fetchable(name) if (published / path).is_file()]
    server.offer(published, files)
    root = tmp_path / "mirror"
    done = fetch(["all"], root, server.url)
    assert set(done.new) == set(files) and not done.held
    assert set(done.failed) == {path for name in BENCHMARKS for path in fetchable(name)} - set(files)
    assert all((root / path).read_bytes() == (published / path).read_bytes() for path in files)
    assert mirror.manifest(root) == {path: mirror.digest(published / path) for path in files}
    assert {check.state for check in check_mirror(root) if check.path in files} == {"ok"}
    for name, subset, split in (("mgsm", "en", "test"), ("bbh", "snarks", "test"), ("xcopa", "en", "validation")):
        monkeypatch.setenv("ANYORDER_DATA", str(published))
        wanted = documents_of(name, subset, split)
        monkeypatch.setenv("ANYORDER_DATA", str(root))
        assert documents_of(name, subset, split) == wanted


def test_a_second_call_asks_only_for_what_is_missing(server, published, tmp_path):
    server.offer(published, ["z_bench/common.samples.csv", "z_bench/emergent.samples.csv"])
    root = tmp_path / "mirror"
    report, whole = fetch_report(["z_bench"], root, server.url)
    assert not whole and "2 files fetched" in report and "1 could not be had" in report
    assert "specialized.samples.csv (404 Not Found); copy the file there by hand" in report
    server.offer(published, ["z_bench/specialized.samples.csv"])
    server.asked.clear()
    report, whole = fetch_report(["z_bench"], root, server.url)
    assert whole and [Path(path).name for path in server.asked] == ["specialized.samples.csv"]
    assert "1 files fetched" in report and "2 were there already; use them with ANYORDER_DATA=" in report
    assert "licence CC BY 4.0; from zhenbench/z-bench@1f1195b4" in report


def test_what_is_cut_off_or_not_the_published_file_is_not_kept(server, published, tmp_path, monkeypatch):
    names = [f"z_bench/{name}.samples.csv" for name in ("common", "emergent", "specialized")]
    server.offer(published, names)
    server.cut.add(address(names[0]))
    monkeypatch.setattr("harness.mirror.official_files", lambda: {names[1]: OfficialFile(9, "0" * 64)})
    root = tmp_path / "mirror"
    (root / "z_bench").mkdir(parents=True)
    (root / names[2]).write_text("the user's own")
    done = fetch(["z_bench"], root, server.url)
    assert done.new == [] and "was cut off after" in done.failed[names[0]]
    assert "has another sha256 than the published file" in done.failed[names[1]]
    assert "is there already and is not listed" in done.failed[names[2]]
    assert [path.name for path in (root / "z_bench").iterdir()] == ["specialized.samples.csv"]
    assert not mirror.manifest(root)
    assert (root / names[2]).read_text() == "the user's own"


def test_a_manifest_of_other_columns_is_kept(server, published, tmp_path):
    root = tmp_path / "mirror"
    root.mkdir()
    (root / "MANIFEST.tsv").write_text("path\trows\tbytes\tsha256\nmine.txt\t1\t2\tabc\n")
    server.offer(published, files_of(BENCHMARKS["z_bench"]))
    fetch(["z_bench"], root, server.url)
    assert mirror.manifest(root)["mine.txt"] == "abc" and len(mirror.manifest(root)) == 4


def test_what_is_not_whole_or_of_no_use_is_said(server, published, tmp_path):
    """A copy of fewer items stays and is named; so does one that no task could read."""
    server.offer(published, ["mgsm/mgsm_en.tsv"])
    server.files[address("mgsm/mgsm_de.tsv")] = b"a question without its answer\n"
    report, _ = fetch_report(["mgsm"], tmp_path, server.url)
    count = len(mirror.lines_of(published / "mgsm/mgsm_en.tsv"))
    assert f"not whole: mgsm/mgsm_en.tsv (en) has {count} of the published 250 items" in report
    assert "of no use: " in report and "mgsm_de.tsv, line 1: expected 2 columns" in report


def test_a_killed_fetch_goes_on(server, published, tmp_path, monkeypatch):
    """Killed between the list and the file, or anywhere else: the next call fetches what is missing."""
    server.offer(published, files_of(BENCHMARKS["z_bench"]))
    write = origins.write_atomically

    def killed(path, content):
        if path.name == "emergent.samples.csv":
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(origins, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        fetch(["z_bench"], tmp_path, server.url)
    monkeypatch.setattr(origins, "write_atomically", write)
    done = fetch(["z_bench"], tmp_path, server.url)
    assert not done.failed and "z_bench/emergent.samples.csv" in done.new
    assert set(mirror.manifest(tmp_path)) == set(files_of(BENCHMARKS["z_bench"]))


def test_names_and_options_that_cannot_be(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="unknown benchmark 'mgms'. Did you mean 'mgsm'"):
        fetch(["mgms"], tmp_path)
    with pytest.raises(DataError, match="Gigaword: no public place of its files is known here; their licence: LDC"):
        fetch(["gigaword"], tmp_path)
    with pytest.raises(DataError, match="XL-Sum: no public place .* get them from github.com/csebuetnlp/xl-sum"):
        fetch(["xlsum"], tmp_path)
    monkeypatch.delenv("ANYORDER_DATA", raising=False)
    with pytest.raises(DataError, match="python -m harness data --fetch mgsm --into DIR makes one"):
        documents_of("mgsm", "sw", "test")
    with pytest.raises(DataError, match="python -m harness data --fetch z_bench --into DIR makes one"):
        documents_of("z_bench", "common", "test")
    assert "fetch    12 of 12 files from google-research/url-nlp@452a21ad" in sources_table()
    command = [sys.executable, "-m", "harness", "data", "--fetch", "mgsm"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2 and "--fetch NAMES and --into DIR go together" in result.stderr


@needs_real
def test_the_real_files_are_the_published_ones(server, tmp_path):
    """Files of whole benchmarks travel through a fetch and have the digests that checksums.tsv lists for them."""
    names = ["mgsm", "humaneval", "z_bench", "xwinograd"]
    files = [path for name in names for path in fetchable(name) if (REAL / path).is_file()]
    server.offer(REAL, files)
    done = fetch(names, tmp_path, server.url)
    assert set(done.new) == set(files) and set(files) <= set(mirror.official_files())
    assert {Path(path).name for path in done.failed} == {
        "mgsm_bn.tsv", "mgsm_sw.tsv", "mgsm_te.tsv", "exemplars.py"
    }  # fmt: skip
