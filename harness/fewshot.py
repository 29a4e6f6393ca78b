"""Few-shot examples of the same subset as the question: MMLU's five questions per subject, in their order.

A task over all subjects loads questions and examples together (`role`, see `harness.data.load`); its YAML names
`questions` and `examples` as `process_docs` and `SameSubset` as sampler. lm-eval hands the question to the sampler only
if both come from the test split.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from lm_eval.api.samplers import ContextSampler

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
        pool = self._pools[eval_doc["language"]]
        if n > len(pool):
            raise DataError(f"{n} examples were asked for, '{eval_doc['language']}' has {len(pool)}.")
        return pool[:n]
