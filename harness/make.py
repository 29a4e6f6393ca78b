"""`make tables`: run the Snakefile for one suite, one call at a time, and print the report.

A call holds an flock on results/<suite>/.lock, which the system releases when the process dies: a killed run
leaves no stale lock, and the next call goes on with what is missing.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections import Counter
from pathlib import Path

from harness.config import ConfigError, unknown
from harness.run_files import check_writable
from harness.suites import Suite, load_suite

ROOT = Path(__file__).resolve().parents[1]


def make(suite_name: str, cores: int, *, plan: bool = False) -> int:
    """Build a suite's report, or print what is left to do; returns an exit code.

    Raises:
        ConfigError: unknown suite, unknown recipe, or another call is working on the same suite.
        RecordError: the results folder cannot be written.
    """
    suite = load_suite(suite_name)
    check_recipes(suite)
    folder = ROOT / "results" / suite.name
    check_writable(folder)
    if plan:
        return _plan(suite, suite_name, cores)
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"another `make tables SUITE={suite.name}` is at work on {folder}; wait for it, or stop it."
            ) from error
        code = _snakemake(suite_name, cores, lock.fileno(), "--quiet", "all")
    if code:
        print(
            f"stopped with exit code {code}. What is finished is kept: the same command goes on from here.",
            file=sys.stderr,
        )
        return code
    return subprocess.run(
        [sys.executable, "-m", "reports", "show", "--suite", suite_name], cwd=ROOT, check=False
    ).returncode


def check_recipes(suite: Suite) -> None:
    """ConfigError when a recipe of the suite does not exist (torch-free, before anything is spent)."""
    for system in suite.systems:
        if not (ROOT / system.recipe.partition("@")[0]).is_file():
            known = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "trainers" / "recipes").glob("*/*.yaml"))
            raise ConfigError(f"system {system.name}: " + unknown("recipe", system.recipe, known))


def _command(suite_name: str, cores: int, *more: str) -> list[str]:
    base = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(ROOT)]
    kept = ["--nolock", "--rerun-incomplete", "--keep-going", "--rerun-triggers", "mtime", "params", "input"]
    return [*base, "--cores", str(cores), *kept, "--config", f"suite={suite_name}", *more]


def _snakemake(suite_name: str, cores: int, lock: int, *more: str) -> int:
    """Run it with the lock inherited: as long as any job of this call lives, no other call starts."""
    process = subprocess.Popen(_command(suite_name, cores, *more), pass_fds=(lock,))
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


def _plan(suite: Suite, suite_name: str, cores: int) -> int:
    """Jobs that are left, by rule, with a forecast from the suite's own measurements."""
    done = subprocess.run(_command(suite_name, cores, "--dry-run"), capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout + done.stderr, file=sys.stderr)
        return done.returncode
    counts = Counter(
        line.split()[1].rstrip(":") for line in done.stdout.splitlines() if line.startswith(("rule ", "localrule "))
    )
    counts.pop("all", None)
    if not counts:
        print(f"{suite.name}: nothing to do; results/{suite.name}/report.md is up to date.")
        return 0
    print(f"{suite.name}: {suite.description}\n{'stage':<12}{'jobs':>6}{'each':>12}{'in all':>12}")
    total, unknown_time = 0.0, False
    for rule in ("corpus", "tokenizer", "contamination", "train", "evaluate", "analysis", "judge", "speed", "report"):
        if jobs := counts.get(rule, 0):
            each = suite.forecast.get(rule, 0.0)
            side = min(cores, jobs) if rule in ("train", "evaluate") else 1
            total, unknown_time = total + each * jobs / side, unknown_time or not each
            print(f"{rule:<12}{jobs:>6}{_time(each):>12}{_time(each * jobs / side):>12}")
    space = f"about {suite.forecast['disk_mb']:.0f} MB" if "disk_mb" in suite.forecast else "?"
    least = "at least " if total and unknown_time else ""
    print(f"forecast {least}{_time(total)} on {cores} cores, disk {space} ({suite.forecast_from})")
    return 0


def _time(seconds: float) -> str:
    if not seconds:
        return "?"
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.1f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
