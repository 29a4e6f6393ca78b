"""fschat's own judging functions with our transport: its matches, prompts and records, without its dead API calls.

Its functions are pure but for one call of `chat_completion_openai`. They are run twice: once with a transport that only
writes down what would be asked, and, when all replies are there, once more with a transport that hands them over.
`get_conversation_template` would put a few-shot example before a prompt to a judge with an unknown name, so that the
plain chat form is given to all.
"""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Callable, Sequence
from typing import Any

from harness.judges.endpoint import Ask
from harness.judges.replaced import replaced

LONGEST_JUDGMENT = 2048


def common() -> Any:
    """fschat's `llm_judge.common`.

    Raises:
        RuntimeError: the extra `judge` is not installed.
    """
    return _module("common")


def gen_judgment() -> Any:
    """fschat's `llm_judge.gen_judgment`: matches and judges."""
    return _module("gen_judgment")


def _module(name: str) -> Any:
    try:
        return importlib.import_module(f"fastchat.llm_judge.{name}")
    except ImportError as error:
        raise RuntimeError(f"MT-Bench needs the extra 'judge' ({error}): pip install 'anyorder[judge]'.") from error


def questions_asked(matches: Sequence[Any]) -> list[list[Ask]]:
    """What each match would ask the judge: one request (single) or two (both orders)."""
    asked: list[list[Ask]] = []

    def note(model: str, conversation: Any, temperature: float, max_tokens: int, api_dict: Any = None) -> str:
        messages = tuple((m["role"], m["content"]) for m in conversation.to_openai_api_messages())
        asked[-1].append(Ask(messages, max_tokens, temperature))
        return ""

    for match in matches:
        asked.append([])
        _play(match, note)
    return asked


def records(matches: Sequence[Any], judgments: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """fschat's own result of each match, given the judge's texts in the order they were asked for."""
    made = []
    for match, texts in zip(matches, judgments, strict=True):
        left = list(texts)
        made.append(_play(match, lambda *_, left=left, **__: left.pop(0)))
    return made


def _play(match: Any, transport: Callable[..., str]) -> dict[str, Any]:
    from fastchat.conversation import get_conv_template

    module = common()
    play = module.play_a_match_pair if hasattr(match, "model_1") else module.play_a_match_single
    ours = {
        "chat_completion_openai": transport,
        "OPENAI_MODEL_LIST": (match.judge.model_name,),
        "get_conversation_template": lambda name: get_conv_template("chatgpt"),
    }
    with replaced(module, **ours), contextlib.redirect_stdout(io.StringIO()):
        return play(match, output_file=None)
