"""A benchmark's copy on the hub: one file at a pinned commit, of parquet or as its authors published it. Nothing in it is run.

A file that was downloaded once at its commit is read from the hub client's cache, without the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import mirror
from harness.benchmarks import Benchmark
from harness.mirror import DataError, Document


def rows_of(
    spec: Benchmark, subset: str, place: tuple[str, str, str], where: str, otherwise: str
) -> Iterator[dict[str, Any]]:
    """The documents of a file of the hub, before their columns are checked.

    Args:
        place: repository, commit and path; a path that ends in `.parquet` holds rows for `spec.convert`, any other one is
            the authors' own file, for `spec.parse`.
        where: what errors begin with.
        otherwise: what they advise.

    Raises:
        DataError: the hub is out of reach, has no such file, or it is damaged.
    """
    file = _downloaded(place, where, otherwise)
    if file.suffix == ".parquet":
        return _converted(spec, subset, _parquet_rows(file, where), where)
    return spec.parse(mirror.lines_of(file), file, subset)


def _downloaded(place: tuple[str, str, str], where: str, otherwise: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    repository, revision, path = place
    try:
        return Path(hf_hub_download(repository, path, repo_type="dataset", revision=revision))
    except Exception as error:  # the hub's client raises a dozen unrelated types; each of them ends this task
        refusal = _refusal(error)
        unreachable = refusal is None and isinstance(error, (ConnectionError, TimeoutError, LocalEntryNotFoundError))
        what = "the hub could not be reached" if unreachable else "the hub gave no file"
        reason = " ".join(str(refusal or error).split())[:200]
        raise DataError(f"{where}: {what} ({reason}). {otherwise}") from error


def _refusal(error: BaseException | None) -> Exception | None:
    """The hub's own answer, which its client may wrap in an error about the connection; None if there was none."""
    from huggingface_hub.errors import HfHubHTTPError

    while error is not None and not isinstance(error, HfHubHTTPError):
        error = error.__cause__
    return error


def _parquet_rows(file: Path, where: str) -> list[Document]:
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(file).read().to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{where}: not a whole parquet file ({reason}); delete {file.resolve()} and try again."
        ) from error


def _converted(spec: Benchmark, subset: str, rows: list[Document], where: str) -> Iterator[Document]:
    for number, row in enumerate(rows, start=1):
        try:
            document = spec.convert(row, subset)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DataError(
                f"{where}, row {number}: another shape than expected ({error!r}); there are {', '.join(sorted(row))}."
            ) from error
        if document is not None:
            yield document
