"""Summaries whose reference is called `targets`."""

from __future__ import annotations

from typing import Any

from harness import metrics


def headline(doc: dict, results: list[str]) -> dict[str, Any]:
    """ROUGE against the headline."""
    return metrics.summary({**doc, "summary": doc["targets"]}, results)
