"""The real data files and published numbers: the folder `shared` beside the checkout, or ANYORDER_SHARED."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("ANYORDER_SHARED") or Path(__file__).resolve().parents[2] / "shared")
REAL = SHARED / "data"
PUBLISHED = SHARED / "published"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="no real files beside the checkout")
