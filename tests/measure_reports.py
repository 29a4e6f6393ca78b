"""Time and memory of frame and tables on made-up results: `python tests/measure_reports.py --items 1000000` (no test here).

Without --keep the results are written anew into a temporary folder first, which takes longer than what is measured.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import synthetic_results as synthetic

from reports.frame import load_results
from reports.tables import build_tables, load_specs

RUN_TASKS = 212  # tasks × seeds × evaluations of the made-up suite


def main() -> None:
    """Write, read and tabulate; prints one line per step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000, help="items over all runs, about (default 1,000,000)")
    parser.add_argument("--keep", type=Path, help="folder for the made-up results; used again where it exists")
    options = parser.parse_args()
    suite = synthetic.make_suite(name="large")
    with tempfile.TemporaryDirectory() as temporary:
        root = (options.keep or Path(temporary)) / suite.name
        if not root.is_dir():
            per_language = max(1, options.items // RUN_TASKS // len(synthetic.LANGUAGES))
            synthetic.write_results(root, suite, per_language=per_language, speed=False)
        for what in ("samples", "cache"):
            if what == "samples":
                for path in (root / "cache").glob("*.parquet"):
                    path.unlink()
            _measure(what, suite, root)


def _measure(what: str, suite, root: Path) -> None:
    wall, processor = time.perf_counter(), time.process_time()
    results = load_results(suite, root)
    loaded = time.process_time()
    build_tables(results, load_specs())
    items = sum(record.n_items for record in results.runs.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{items:,} items ({len(results.items):,} scores) from {what}: {time.perf_counter() - wall:.1f} s, of the processor "
        f"{loaded - processor:.1f} s reading and {time.process_time() - loaded:.1f} s tables; peak {peak:.0f} MB",
        flush=True,
    )


if __name__ == "__main__":
    main()
