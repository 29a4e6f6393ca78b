"""lm-eval's own tasks under a name and with settings of ours: `class: !function harness.stock_tasks.StockTask`.

The YAML says which of lm-eval's files it starts from (`stock: piqa/piqa.yaml`, below lm_eval/tasks) and what differs.
`blank: [COLUMN, …]` empties these columns of its questions, not of its examples: what the answers alone are worth.
Such a task reads lm-eval's own source on the hub, at the commit of `dataset_kwargs: {revision: …}`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lm_eval.tasks
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml

from harness.data_folder import data_setting, mirror_folder, to_the_hub
from harness.mirror import DataError

STRUCTURE = ("tag", "group", "class", "stock", "task_list", "blank")


def stock_config(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of lm-eval's file that `stock` names (none: nothing), with every other key of `config` over it.

    Raises:
        DataError: lm-eval has no such file.
    """
    base: dict[str, Any] = {}
    if "stock" in config:
        path = Path(lm_eval.tasks.__file__).parent / config["stock"]
        if not path.is_file():
            raise DataError(f"{config['task']}: this lm-eval has no tasks/{config['stock']}; 0.4.13 has it.")
        base = load_yaml(path, resolve_func=True)
    merged = {**base, **config}
    return {key: value for key, value in merged.items() if key not in STRUCTURE}


class StockTask(ConfigurableTask):
    """One of lm-eval's tasks with another name, number of examples or list of metrics."""

    def __init__(self, config: dict[str, Any]) -> None:
        data = data_setting(config.get("metadata"))
        if mirror_folder(data) is not None:
            raise DataError(
                f"{config['task']} is lm-eval's own task and reads lm-eval's own source on the hub; a mirror has no "
                f"files for it: {to_the_hub(data)}."
            )
        self._blank = tuple(config.get("blank", ()))
        super().__init__(config=stock_config(config))

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **more: Any) -> None:
        """lm-eval's own loading.

        Raises:
            DataError: the source is out of reach or cannot be used, with the reason.
        """
        try:
            super().download(dataset_kwargs, **more)
        except Exception as error:  # loading scripts, unknown configurations, no network: unrelated types end this task
            reason = " ".join(str(error).split())[:200]
            where = " ".join(filter(None, (self.DATASET_PATH, self.DATASET_NAME)))
            raise DataError(f"{self.config.task}: lm-eval's own source {where} cannot be loaded ({reason}).") from error

    def validation_docs(self) -> Any:
        """lm-eval's, without the text of `blank`."""
        return self._blanked(super().validation_docs())

    def test_docs(self) -> Any:
        """lm-eval's, without the text of `blank`."""
        return self._blanked(super().test_docs())

    def _blanked(self, documents: Any) -> Any:
        if documents is None:  # the task has no such split
            return None
        for column in self._blank:
            if column not in documents.column_names:
                raise DataError(f"{self.config.task}: no column {column} to blank; there are {documents.column_names}.")
            documents = documents.remove_columns(column).add_column(column, [""] * len(documents))
        return documents
