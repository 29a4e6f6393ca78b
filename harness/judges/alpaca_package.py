"""The alpaca_eval package from outside: its templates, parsers and annotator, and what is replaced in it.

The package goes wrong without a word in three places that are mended here:

- its prompt maker fills `{output_1}` and then looks for `{output_2}` also inside of that output: filled in one pass here;
- its ChatML splitter cuts a prompt wherever an output says `<|im_end|>`: only the template's own marks count here;
- its cache keeps unread verdicts for good and lies inside the package: replies lie in our store instead.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from harness.config import ConfigError
from harness.judges.endpoint import Reply
from harness.judges.files import file_name
from harness.judges.replaced import replaced
from harness.judges.rubrics import fill
from harness.records import write_atomically

TEMPLATES = {1: "alpaca_eval_gpt4/alpaca_eval.txt", 2: "alpaca_eval_clf_gpt4_turbo/alpaca_eval_clf.txt"}
SETTINGS: dict[int, dict[str, Any]] = {
    1: {"completions_kwargs": {"max_tokens": 100, "temperature": 0}, "fn_completion_parser": "ranking_parser"},
    2: {
        "completions_kwargs": {"max_tokens": 1, "temperature": 1, "top_logprobs": 5},
        "fn_completion_parser": "logprob_parser",
        "completion_parser_kwargs": {"numerator_token": "m", "denominator_tokens": ["m", "M"], "is_binarize": False},
        "completion_key": "completions_all",
    },
}
_CHATML = re.compile(
    r"\s*<\|im_start\|>system\n(?P<system>.*?)\n?<\|im_end\|>\s*<\|im_start\|>user\n(?P<user>.*)\n?<\|im_end\|>\s*",
    re.DOTALL,
)


def package(name: str = "") -> Any:
    """alpaca_eval or one of its modules; importing it would turn on everyone's INFO messages.

    Raises:
        RuntimeError: the extra `judge` is not installed, or not with the versions it needs.
    """
    level = logging.getLogger().level
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)
            return importlib.import_module(f"alpaca_eval{'.' if name else ''}{name}")
    except ImportError as error:
        raise RuntimeError(
            f"AlpacaEval needs the extra 'judge' ({error}): pip install -c constraints.txt 'anyorder[judge]' "
            "(alpaca-eval 0.6.6 works with setuptools<82, pandas<3 and scikit-learn<1.10)."
        ) from error
    finally:
        logging.getLogger().setLevel(level)


def write_config(judge: str, version: int, out: Path) -> Path:
    """The annotator's folder (configs.yaml, prompt.txt) below `out`, named after judge and version."""
    name = f"{file_name(judge)}_v{version}"
    template = Path(package().__file__).parent / "evaluators_configs" / TEMPLATES[version]
    write_atomically(out / "config" / name / "prompt.txt", template.read_text(encoding="utf-8"))
    config = {name: {"prompt_template": f"{name}/prompt.txt", "batch_size": 1, **SETTINGS[version]}}
    write_atomically(out / "config" / name / "configs.yaml", yaml.safe_dump(config, sort_keys=False))
    return (out / "config" / name).resolve()


def messages_of(prompt: str) -> tuple[tuple[str, str], ...]:
    """(role, text) messages of a ChatML prompt with one system and one user part; marks inside of the parts are text."""
    match = _CHATML.fullmatch(prompt)
    if match is None:
        raise ConfigError("the prompt template is not ChatML with one system and one user part.")
    return (("system", match["system"].strip()), ("user", match["user"].strip()))


def completion_of(reply: Reply) -> dict[str, Any]:
    """A reply in the shape that alpaca_eval's log-probability parser reads."""
    content = [
        {"top_logprobs": [{"token": token, "logprob": value} for token, value in row.items()]}
        for row in reply.top_logprobs or []
    ]
    return {"text": reply.text, "logprobs": {"content": content}}


def reader_of(version: int):
    """Reply → the package's own preference (1 to 2) in the order shown, or None where it cannot read one."""

    def read(reply: Reply) -> float | None:
        parsers = package("completion_parsers")
        if version == 2:
            if not reply.top_logprobs:
                return None
            value = parsers.logprob_parser(
                completion_of(reply), log_prob_index=0, **SETTINGS[2]["completion_parser_kwargs"]
            )[0]
        else:
            value = parsers.ranking_parser(reply.text or " ")[0]
        return None if math.isnan(value) else float(value)

    def quietly(reply: Reply) -> float | None:
        with quiet():
            return read(reply)

    return quietly


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The package's log and bar switched off: what it would say of unread verdicts is counted and said by us."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with replaced(package("utils"), tqdm=SimpleNamespace(tqdm=lambda items, **_: items)):
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def difficulties(path: Path | None) -> Iterator[None]:
    """The package's download of df_gamed.csv answered with a local file."""
    if path is None:
        yield
        return
    with replaced(package("metrics.glm_winrate"), hf_hub_download=lambda **_: str(path)):
        yield


def annotator_class() -> type:
    """alpaca_eval's PairwiseAnnotator with prompts filled in one pass and dates that are those of the replies."""
    evaluator = package("annotators.pairwise_evaluator")

    class OnePass(evaluator.SinglePairwiseAnnotator):
        def _make_prompts(self, df_to_annotate, prompt_template=None):
            template = prompt_template or self.prompt_template
            rows = df_to_annotate.to_dict("records")
            names = set(re.findall(r"{([^ \s]+?)}", template))
            return [fill(template, {name: str(row[name]) for name in names}) for row in rows], df_to_annotate.copy()

        def _add_metadata_to_completions_(self, completions):
            dates = completions["date"]
            super()._add_metadata_to_completions_(completions)
            completions["date"] = dates

    class Pairwise(evaluator.PairwiseAnnotator):
        @property
        def SingleAnnotator(self):
            return OnePass

    return Pairwise
