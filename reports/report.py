"""Build a suite's report: tables, figures and report.md, each file written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2

from harness.records import write_atomically
from harness.suites import Suite
from reports.beside import beside_table
from reports.cells import MISSING
from reports.claims import check_claims, claims_table, load_claims
from reports.figures import encode, main_figure, pareto_figure
from reports.frame import Results, file_digest, load_results
from reports.locations import REPORT_FILE, write_bytes
from reports.published import load_published_specs, published_table
from reports.render import markdown_escape, to_csv, to_latex, to_markdown
from reports.scoring_figure import scoring_figure
from reports.site import PAGE, page
from reports.sweep_figure import sweep_figure
from reports.tables import Table, build_tables, load_specs

FIGURES: dict[str, tuple[str, str, Callable, str]] = {
    "scores": (
        "main",
        "Scores by group",
        main_figure,
        "Mean over seeds; thick: 95 % interval for these checkpoints, thin: for another training seed; "
        "dots: seeds; dashed: chance.",
    ),
    "speed": (
        "pareto",
        "Quality and speed",
        pareto_figure,
        "Token F1 on long answers against tokens per second; bars: range over repeats and seeds; "
        "line: modes that no other beats in both.",
    ),
    "scoring": (
        "scoring",
        "Error and time of scoring",
        scoring_figure,
        "Root mean square error against time per request, by rows per choice; triangles: exact.",
    ),
    "sweeps": (
        "im_sweeps",
        "Instruction Modelling by ratio and size",
        sweep_figure,
        "Fall of the test loss from IT to IM; dots: seeds; line: least squares, band: its 95 % interval.",
    ),
}


def build(
    suite: Suite,
    root: Path,
    tasks: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> str:
    """Write tables/, figures/ and report.md below `root`; returns the report (Markdown).

    Raises:
        FrameError, RecordError, TableError, ConfigError: see their modules; nothing half-written is left
        behind.
    """
    say(f"reading runs of {root}")
    results = load_results(suite, root, tasks, progress)
    asked = len(results.runs) + len(results.missing)
    say(f"{len(results.runs)} of {asked} runs, {len(results.items)} item scores; tables")
    tables = build_tables(results, load_specs()) | judged(results)
    papers = {name: published_table(name, spec) for name, spec in load_published_specs().items()}
    for name, table in (tables | papers).items():
        write_atomically(root / "tables" / f"{name}.md", to_markdown(table, suite.name, level=1))
        write_atomically(root / "tables" / f"{name}.csv", to_csv(table))
        write_atomically(root / "tables" / f"{name}.tex", to_latex(table, suite.name))
    say("figures")
    figures = draw(tables, suite, root)
    facts = header(results)
    text = report(results, tables, figures, facts)
    write_atomically(root / REPORT_FILE, text)
    say("page")
    write_atomically(root / PAGE, page(results, tables, papers, figures, facts))
    return text


def judged(results: Results) -> dict[str, Table]:
    """The suite's numbers beside published ones, where it has any, and what became of the claims."""
    compared = beside_table(results, load_published_specs())
    claims = claims_table(check_claims(load_claims(), results))
    return ({compared.name: compared} if compared else {}) | {claims.name: claims}


def draw(tables: Mapping[str, Table], suite: Suite, root: Path) -> dict[str, dict[str, str]]:
    """Write the figures; table name → the figure that belongs below it."""
    done: dict[str, dict[str, str]] = {}
    for form, (name, title, make, caption) in FIGURES.items():
        table = next((t for t in tables.values() if t.spec.form == form), None)
        figure = make(table, suite) if table else None
        if table is None or figure is None:
            continue
        for kind, data in encode(figure).items():
            write_bytes(root / "figures" / f"{name}.{kind}", data)
        done[table.name] = {"name": name, "title": title, "caption": caption}
    return done


def header(results: Results) -> dict[str, Any]:
    """What report and page say of a suite beside its tables."""
    suite, records = results.suite, results.runs.values()
    return {
        "suite": suite,
        "runs": len(results.runs),
        "expected": len(results.runs) + len(results.missing),
        "missing": results.missing,
        "stages": [_stage(results, system.name) for system in suite.systems],
        "total": {
            "training": duration(c.seconds for c in results.checkpoints.values()),
            "evaluation": duration(r.seconds for r in records),
        },
        "devices": _several(record.device for record in records),
        "packages": _several(f"{name} {v}" for r in records for name, v in r.packages.items() if v != "not installed"),
        "commits": _several(f"{r.commit or 'unknown'}{' (with local changes)' if r.dirty else ''}" for r in records),
        "corpus": file_digest(results.root / "corpus" / "manifest.json"),
        "notes": results.notes,
    }


def report(
    results: Results,
    tables: Mapping[str, Table],
    figures: Mapping[str, dict[str, str]],
    facts: Mapping[str, Any],
) -> str:
    """The text of report.md."""
    suite = results.suite
    folder = Path(__file__).resolve().parent / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["md"] = lambda text: markdown_escape(str(text))
    shown = [
        {"markdown": to_markdown(table, suite.name), "figure": figures.get(table.name)}
        for table in tables.values()
        if table.spec.in_report
    ]
    return environment.get_template("report.md.j2").render(**facts, tables=shown, files=list(tables))


def _several(values: Iterable[str]) -> list[str]:
    return sorted(set(values)) or ["none yet"]


def _stage(results: Results, name: str) -> dict[str, Any]:
    """Wall times of one system, averaged over its seeds; — where it was not run."""
    system = results.suite.system(name)
    training = [c.seconds for (owner, _), c in results.checkpoints.items() if owner == name]
    by_seed: dict[int, float] = {}
    for key, record in results.runs.items():
        if key.system == name:
            by_seed[key.seed] = by_seed.get(key.seed, 0.0) + record.seconds
    mean = {"training": training, "evaluation": list(by_seed.values())}
    times = {key: f"{sum(values) / len(values):.0f}" if values else MISSING for key, values in mean.items()}
    return {"label": system.label, "paradigm": system.paradigm, "adapter": system.adapter} | times


def duration(seconds: Iterable[float]) -> str:
    """A sum of seconds as `12 min 5 s`."""
    total = round(sum(seconds))
    hours, rest = divmod(total, 3600)
    minutes, rest = divmod(rest, 60)
    return (f"{hours} h " if hours else "") + (f"{minutes} min " if hours or minutes else "") + f"{rest} s"
