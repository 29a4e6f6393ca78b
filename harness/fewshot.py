"""Few-shot examples of the same subset as the question, the first n in the published order.

A task over all subjects (MMLU) loads questions and examples together (`role`, see `harness.data.load`); its YAML names
`questions` and `examples` as `process_docs` and `SameSubset` as sampler. MGSM's examples are read only when a run shows
some (`nothing`, `Published`). Tasks without examples say so (`NoExamples`). lm-eval hands the question to the sampler
only if both come from the test split.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from lm_eval.api.samplers import ContextSampler

from harness.data import documents_of, revision_of
from harness.mirror import DataError


def questions(dataset: Any) -> Any:
    """The rows that are questions."""
    return _of_role(dataset, "question")


def examples(dataset: Any) -> Any:
    """The rows that are examples."""
    return _of_role(dataset, "example")


def _of_role(dataset: Any, role: str) -> Any:
    roles = dataset["role"][:]  # the whole column at once: iterating over it decodes row by row
    return dataset.select([index for index, found in enumerate(roles) if found == role])


class SameSubset(ContextSampler):
    """The first n examples of the question's own subset: the same for every run, order and number of processes."""

    def sample(
        self, n: int, eval_doc: dict[str, Any] | None = None, df: Any = None, **kwargs: Any
    ) -> Sequence[dict[str, Any]]:
        """The examples of `eval_doc`'s subset; DataError if there are fewer than n."""
        if not hasattr(self, "_pools"):
            self._pools: dict[str, list[dict[str, Any]]] = defaultdict(list)
            for row in self.df:
                self._pools[row["language"]].append(row)
        assert eval_doc is not None, "the examples' split must be the test split"
        return _first(self._pools[eval_doc["language"]], n, eval_doc)


def _first(pool: list[dict[str, Any]], n: int, document: dict[str, Any]) -> list[dict[str, Any]]:
    if n > len(pool):
        raise DataError(f"{n} examples were asked for, '{document['language']}' has {len(pool)}.")
    return pool[:n]


def nothing(dataset: Any) -> list[dict[str, Any]]:
    """No example, only where `Published` is to read them from: one row with the setting `data`."""
    return [{"data": dataset.data}]


class Published(ContextSampler):
    """The first n documents of the split `train` of the question's own benchmark and subset.

    They are read from where the question came from, when first asked for: a zero-shot run needs no such file.
    """

    def sample(
        self, n: int, eval_doc: dict[str, Any] | None = None, df: Any = None, **kwargs: Any
    ) -> Sequence[dict[str, Any]]:
        """The examples of `eval_doc`'s subset; DataError if they cannot be had, or are fewer than n."""
        assert eval_doc is not None, "the examples' split must be the test split"
        benchmark, subset = eval_doc["id"].split("/")[:2]
        if not hasattr(self, "_pools"):
            self._pools: dict[str, list[dict[str, Any]]] = {}
        if subset not in self._pools:
            revisions = revision_of(eval_doc["source"])
            self._pools[subset] = documents_of(benchmark, subset, "train", revisions, self._data())
        return _first(self._pools[subset], n, eval_doc)

    def _data(self) -> str | None:
        """The setting `data` of the questions, from the row that `nothing` made."""
        if [set(row) for row in self.df] != [{"data"}]:
            raise DataError(
                "fewshot_config: Published needs `process_docs: !function harness.fewshot.nothing` beside it."
            )
        return self.df[0]["data"]


class NoExamples(ContextSampler):
    """For tasks that have no examples to show, or whose prompts hold them already."""

    def sample(
        self, n: int, eval_doc: dict[str, Any] | None = None, df: Any = None, **kwargs: Any
    ) -> Sequence[dict[str, Any]]:
        """DataError: lm-eval asks only where `--num_fewshot` is above zero."""
        raise DataError(f"--num_fewshot {n}: this task has no examples beside its prompts; leave --num_fewshot out.")


def check_examples(task: Any, num_fewshot: int | None) -> None:
    """DataError if a task of ours has not the examples that its first question would be shown, `num_fewshot` of them or
    as many as its YAML says; as in lm-eval, a task whose YAML says 0 stays without."""
    own = task.config.num_fewshot
    shots = own if num_fewshot is None or own == 0 else num_fewshot
    if shots and isinstance(getattr(task, "sampler", None), (SameSubset, Published, NoExamples)):
        task.sampler.sample(shots, next(iter(task.eval_docs)))
