"""What the READMEs of tasks/ say about generation is what the YAML says: stop strings, tokens, for every task once."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from harness import registration

SAID = re.compile(r"ends\s+at\s+`(\[.*?\])`[^`]*?or\s+after\s+(\d+)\s+tokens\s+\(([^)]*)\)")
DEFAULT_TOKENS = 256  # lm-eval's, where a task names no number


def written(manager: Any) -> dict[str, Any]:
    """{task of ours that writes: its index entry}, without those whose settings are lm-eval's own."""
    ours = {name: manager.task_index[name] for name in manager.all_subtasks if name.startswith(registration.PREFIXES)}
    return {name: entry for name, entry in ours.items() if "generation_kwargs" in entry.cfg}


def test_generation_settings_are_those_of_the_readme():
    tasks = written(registration.task_manager(["mini_nli"]))
    assert len(tasks) > 50
    for name, entry in tasks.items():
        text = (Path(entry.yaml_path).parent / "README.md").read_text(encoding="utf-8")
        said = [(until, tokens) for until, tokens, names in SAID.findall(text) if named(name, names)]
        assert len(said) == 1, f"{name}: its README should say once where an answer ends, says {said}"
        settings, word = entry.cfg["generation_kwargs"], str(entry.cfg["doc_to_text"]).split("{{")[0].strip()
        assert [word if stop == "QUESTION" else stop for stop in json.loads(said[0][0])] == settings["until"], name
        assert int(said[0][1]) == settings.get("max_gen_toks", DEFAULT_TOKENS), name
        assert not settings.get("do_sample", False), name


def named(task: str, patterns: str) -> bool:
    return any(fnmatch(task, pattern) for pattern in re.findall(r"`([^`]+)`", patterns))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('ends at `["\\n"]` or after 4 tokens (`a_*`)', True),
        ('ends at `["\\n"]`\nor after 4\ntokens (`b`, `a_c`)', True),
        ('ends at `["\\n"]` or after 4 tokens (`b`)', False),
    ],
)
def test_the_sentence_is_found(text, found):
    assert [named("a_c", names) for _, _, names in SAID.findall(text)] == [found]
