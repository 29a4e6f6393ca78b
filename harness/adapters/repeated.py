"""Documents that ask for several answers (pass@k): what would waste them is said before anything is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from lm_eval.api.instance import Instance

from harness.backbones import BackboneError


def check_samples(requests: Sequence[Instance], drawn: Callable[[int], bool], processes: int = 1) -> None:
    """Whether problems of which `samples` answers are asked get as many, and different ones.

    Args:
        drawn: whether the answer to the request of this index is drawn; others are the same each time.
        processes: that share the requests; whether a problem is whole is known to one alone.

    Raises:
        BackboneError: answers would be copies of one, or `--limit` cuts a problem.
    """
    found: Counter[tuple[str, str, int]] = Counter()
    for index, request in enumerate(requests):
        document = request.doc if isinstance(request.doc, dict) else {}
        if not _one_of_several(document):
            continue
        samples = int(document["samples"])
        if not drawn(index):
            raise BackboneError(
                f"{request.task_name}: {samples} answers to each problem are asked for (samples), and without sampling all are "
                "the same one: add --gen_kwargs do_sample=true,temperature=0.2,top_p=0.95, or leave samples out."
            )
        found[(str(request.task_name), str(document["id"]).rpartition("#")[0], samples)] += 1
    for (task, problem, samples), answers in found.items():
        if processes == 1 and answers < samples:
            raise BackboneError(
                f"{task}: {samples} answers to each problem are asked for (samples), and of {problem} only {answers} would be "
                f"written: --limit counts answers; take a multiple of {samples}."
            )


def _one_of_several(document: dict) -> bool:
    """Whether `harness.data.load` made the document for pass@k; others may well have a column `samples`."""
    samples = document.get("samples")
    return isinstance(samples, int) and samples > 1 and "source_id" in document and "#" in str(document.get("id"))
