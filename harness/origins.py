"""Where the files of a mirror are published: `python -m harness data --fetch NAMES --into DIR` makes one.

For clusters whose compute nodes have no internet, and for benchmarks of which the hub has no usable copy. Files come from
public repositories at pinned commits, keep their bytes, and are listed with sha256 and address in DIR/MANIFEST.tsv; those
whose official digest is known (checksums.tsv) are held against it. Nothing is fetched unless this is asked for.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from harness import mirror
from harness.benchmarks import files_of
from harness.catalogue import BENCHMARKS
from harness.download import RAW, download
from harness.mirror import DataError
from harness.progress import bar
from harness.records import write_atomically

AT_ONCE = 8
MANIFEST_COLUMNS = ("path", "bytes", "sha256", "source")
_MESH = "GautamGupta17/MESH@68f82e29e71a4e425069ff398a61387c24c0f30d"
_NEWSTEST = "Helsinki-NLP/OPUS-MT-testsets@ac0f19c0be3cb4e0d9450fcb2d7a9847c4bdd180"


@dataclass(frozen=True)
class Origin:
    """A folder of a public repository: what stands in front of a file's name there instead of `prefix` in a mirror.

    `repository` is owner/name@commit; `suffix` is what the mirror's name has in addition.
    """

    prefix: str
    repository: str
    folder: str
    suffix: str = ""

    def url(self, path: str, base: str) -> str:
        """The address of the mirror file `path`, below `base`."""
        name = path.removeprefix(self.prefix).removesuffix(self.suffix)
        return f"{base}{self.repository.replace('@', '/')}/{self.folder}{name}"


ORIGINS = (  # the first whose prefix fits
    Origin("xnli/", _MESH, "data/xnli/"),
    Origin("xcopa/en/", _MESH, "data/xcopa/"),
    Origin("xcopa/", "cambridgeltl/xcopa@e2e9d7f105a758ee869cd13e0fe251ef93a29840", "data/"),
    Origin("xwinograd/", "yandex-research/crosslingual_winograd@d2cfbbf7dc8f4ec66381e9651f9f5633c2df848d", ""),
    Origin("mgsm/", "google-research/url-nlp@452a21ad3dae5668c06ceeac21ff073e1e40f9be", "mgsm/"),
    Origin("bbh/", "suzgunmirac/BIG-Bench-Hard@9ee07bd481feebf959a6b59d61ea57bdcf30964d", ""),
    Origin("mmlu/", "HaeChan0305/MLILAB-FedLLM@d92730e8bacd7b3a61e551e015e40588e10234b4", "data/mmlu/"),
    Origin("humaneval/", "openai/human-eval@6d43fb980f9fee3c892a914eda09951f772ad10d", "data/"),
    Origin("z_bench/", "zhenbench/z-bench@1f1195b4b11d65ebd729f6eced0ead144f57bd85", ""),
    Origin("diffusionllm_instruct/", "yegcjs/DiffusionLLM@bb6d337a8891dd18c4e7675f651dccf7a6488894", "data/instruct/"),
    Origin("wmt14_de_en/", _NEWSTEST, "datasets/statmt/wmt_newstest/2014/de-en/", ".txt"),
    Origin("wmt14_fr_en/", _NEWSTEST, "datasets/statmt/wmt_newstest/2014/fr-en/", ".txt"),
)
UNLABELLED = ("xnli/test-", "xcopa/en/test-")  # of no use there, as are the files of TyDiQA, which has no origin


@dataclass
class Fetched:
    """What became of the files of a fetch, by path below the mirror; `failed` has a sentence for each."""

    new: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def origin_of(path: str) -> Origin | None:
    """Where the mirror file `path` is published; None where no public place is known."""
    if path.startswith(UNLABELLED):
        return None
    return next((origin for origin in ORIGINS if path.startswith(origin.prefix)), None)


def fetchable(benchmark: str) -> list[str]:
    """The mirror files of a benchmark that have an origin."""
    return [path for path in files_of(BENCHMARKS[benchmark]) if origin_of(path)]


def origins_of(paths: Sequence[str]) -> list[str]:
    """The repositories (owner/name@commit) in which the files are published."""
    return sorted({origin.repository for path in paths if (origin := origin_of(path))})


def fetch(names: Sequence[str], root: Path, base: str = RAW) -> Fetched:
    """Fill the mirror `root` with the benchmarks `names` (`all`: every one that can be); what it holds already stays.

    A file that cannot be had is named in `failed`, and the others go on; the same call again asks for those only.

    Raises:
        DataError: an unknown benchmark, or one whose files have no public place.
        RecordError: `root` cannot be written.
    """
    done = Fetched()
    listed = mirror.manifest(root)
    wanted = [path for path in _paths(names) if not _is_held(root, path, listed, done)]
    addresses = {path: origin.url(path, base) for path in wanted if (origin := origin_of(path))}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = {
            pool.submit(download, url, path, "copy the file there by hand"): path for path, url in addresses.items()
        }
        for job in bar(as_completed(jobs), total=len(jobs), what="fetch", unit="files"):
            path = jobs.pop(job)  # and with it the file's bytes
            try:
                _keep(root, path, addresses[path], job.result())
            except DataError as error:
                done.failed[path] = str(error)
            else:
                done.new.append(path)
    return done


def _paths(names: Sequence[str]) -> list[str]:
    from harness.config import unknown

    can = {name: paths for name in BENCHMARKS if (paths := fetchable(name))}
    if "all" in names:
        return list(dict.fromkeys(path for paths in can.values() for path in paths))
    for name in names:
        if name not in BENCHMARKS:
            raise DataError(unknown("benchmark", name, [*can, "all"]))
        if name not in can:
            spec = BENCHMARKS[name]
            where = f"get them from {spec.published}" if spec.published else f"their licence: {spec.licence}"
            raise DataError(f"{spec.title}: no public place of its files is known here; {where}.")
    return list(dict.fromkeys(path for name in names for path in can[name]))


def _is_held(root: Path, path: str, listed: Mapping[str, str], done: Fetched) -> bool:
    """Whether the mirror has the file already, as listed or as published; another file of that name is left alone."""
    if not (root / path).is_file():
        return False
    digest, official = mirror.digest(root / path), mirror.official_files().get(path)
    if digest in (listed.get(path), official.sha256 if official else None):
        done.held.append(path)
    else:
        done.failed[path] = f"{root / path} is there already and is not listed with its sha256; remove it to fetch it."
    return True


def _keep(root: Path, path: str, source: str, raw: bytes) -> None:
    """List the file in the mirror's manifest, then write it: what is there is listed, whenever the program ends.

    Raises:
        DataError: it is not the published file, where that is known.
    """
    sha256, official = hashlib.sha256(raw).hexdigest(), mirror.official_files().get(path)
    if official is not None and sha256 != official.sha256:
        raise DataError(f"{path}: what came from {source} has another sha256 than the published file; it was not kept.")
    manifest = root / "MANIFEST.tsv"
    header, *rows = (mirror.lines_of(manifest) if manifest.is_file() else []) or ["\t".join(MANIFEST_COLUMNS)]
    columns = header.split("\t")
    values = {"path": path, "bytes": str(len(raw)), "sha256": sha256, "source": source}
    others = [row for row in rows if dict(zip(columns, row.split("\t"), strict=False)).get("path") != path]
    row = "\t".join(values.get(column, "") for column in columns)
    write_atomically(manifest, "\n".join([header, *others, row]) + "\n")
    write_atomically(root / path, raw)


def _short(root: Path, paths: Sequence[str]) -> Iterator[str]:
    """A sentence for every file whose documents are not as many as were published, or cannot be read."""
    there = set(paths)
    for spec in BENCHMARKS.values():
        for subset, split in itertools.product(spec.subsets, spec.splits):
            path, published = spec.mirror_file(subset, split), spec.rows(subset, split)
            if path not in there or published is None or spec.file_rows is not None:
                continue
            try:
                count = sum(1 for _ in spec.parse(mirror.lines_of(root / path), root / path, subset))
            except DataError as error:
                yield f"of no use: {error}"
            else:
                if count != published:
                    yield f"not whole: {path} ({subset}) has {count} of the published {published} items"


def fetch_report(names: Sequence[str], root: Path, base: str = RAW) -> tuple[str, bool]:
    """Fetch, and say what came, under which licences, and what did not; whether everything is there."""
    done = fetch(names, root, base)
    lines = list(_licences([*done.new, *done.held]))
    lines += _short(root, done.new)
    lines += [f"not fetched: {sentence}" for _, sentence in sorted(done.failed.items())]
    lines.append(
        f"{len(done.new)} files fetched into {root}, {len(done.held)} were there already"
        + (f", {len(done.failed)} could not be had" if done.failed else f"; use them with ANYORDER_DATA={root}")
    )
    return "\n".join(lines), not done.failed


def _licences(paths: Sequence[str]) -> Iterator[str]:
    """One line for each benchmark that has files among `paths`."""
    there = set(paths)
    for name in BENCHMARKS:
        files = [path for path in fetchable(name) if path in there]
        if files:
            places = ", ".join(origins_of(files))
            yield f"{name:22} {len(files):4} files  licence {BENCHMARKS[name].licence}; from {places}"
