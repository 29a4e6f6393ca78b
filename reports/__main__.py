"""`python -m reports`: build a suite's tables, figures and report; show the report; explain a cell."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from harness.command_line import Parser
from harness.config import ConfigError
from harness.records import RecordError
from harness.suites import Suite, load_suite
from reports.locations import REPORT_FILE, ReportsError

EXAMPLES = """examples:
  python -m reports build --suite mini                       tables, figures and report.md of results/mini
  python -m reports show --suite mini                        print the finished report
  python -m reports explain main/decoder_it/nli --suite mini where a number comes from
  python -m reports explain speed/xmlr_4:32/ratio --suite mini
  python -m reports explain --diff main/decoder_it/nli main/decoder_im/nli --suite mini
  python -m reports explain main/decoder_it/nli --rerun --suite mini
  python -m reports claims --suite mini                      the papers' claims, tested
  python -m reports import lm_eval_output --name mine         results/mine from what lm_eval wrote
  python -m reports published --out papers                   the papers' tables and figures, from results/published
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = Parser(
        prog="python -m reports",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    commands = top.add_subparsers(
        dest="command", required=True, metavar="build | show | explain | claims | published | import"
    )
    texts = {
        "build": "write tables/, figures/ and report.md from the sealed runs and print the report",
        "show": "print the finished report again",
        "claims": "test the papers' claims on published numbers and on a suite's runs; print verdicts and evidence",
        "import": "make a results folder and a suite file of plain lm-eval result folders",
        "published": "write the papers' tables and figures from results/published, without any suite",
        "explain": "print the runs, checkpoints, recipes and corpus behind a cell, with sha256",
    }
    for name, text in texts.items():
        command = commands.add_parser(
            name, help=text, description=text, epilog=EXAMPLES, formatter_class=argparse.RawTextHelpFormatter
        )
        if name == "explain":
            what = command.add_mutually_exclusive_group()
            command.add_argument("cell", nargs="?", metavar="TABLE/ROW/COLUMN", help="keys as in tables/TABLE.csv")
            what.add_argument("--diff", nargs=2, metavar=("A", "B"), help="name the inputs in which two cells differ")
            what.add_argument("--rerun", action="store_true", help="make the cell's runs again and compare")
        if name == "published":
            command.add_argument(
                "--out", type=Path, default=Path("results/published/drawn"), help="folder to write into"
            )
            continue
        if name == "import":
            command.add_argument("folders", nargs="+", type=Path, help="what lm_eval --output_path --log_samples wrote")
            command.add_argument("--name", required=True, help="name of the results folder and its suite")
            command.add_argument("--results", type=Path, default=Path("results"), help="folder of all suites' results")
            continue
        if name == "build":
            command.add_argument(
                "--export", type=Path, metavar="FILE", help="also write all items: .parquet, .csv, .feather"
            )
        command.add_argument(
            "--suite", required=name != "claims", help="suite name (suites/NAME.yaml) or path of a suite file"
        )
        command.add_argument("--results", type=Path, default=Path("results"), help="folder of all suites' results")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run a command; 0 on success, 2 with one sentence on stderr for what the user can mend."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "published":
            _published(options.out)
        elif options.command == "import":
            _import(options)
        elif options.suite is None:
            _claims(None, None)
        else:
            suite = load_suite(options.suite)
            run = {"build": _build, "show": _show, "explain": _explain, "claims": _claims}[options.command]
            run(suite, options.results / suite.name, options)
    except (ConfigError, RecordError, ReportsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        print("\nstopped; run the same command again", file=sys.stderr)
        return 130
    return 0


def _build(suite: Suite, root: Path, options: argparse.Namespace) -> None:
    from reports.report import build

    def say(text: str) -> None:
        print(f"reports: {text}", file=sys.stderr, flush=True)

    def progress(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\rreports: {done} of {total} runs read", end="\n" if done == total else "", file=sys.stderr)

    _print(build(suite, root, say=say, progress=progress))
    if options.export:
        from reports.frame import load_results
        from reports.frame_files import export

        export(load_results(suite, root).items, options.export)
        print(f"Items: {options.export}")
    print(f"Report: {root / REPORT_FILE}")


def _show(suite: Suite, root: Path, options: argparse.Namespace) -> None:
    path = root / REPORT_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ReportsError(f"no report at {path}: run `make tables SUITE={suite.name}` first.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ReportsError(f"cannot read {path}: {error}.") from error
    _print(text)


def _explain(suite: Suite, root: Path, options: argparse.Namespace) -> None:
    from reports.differences import differences
    from reports.provenance import AddressError, explain
    from reports.rerun import rerun

    if options.diff:
        found = differences(suite, root, *options.diff)
        print("\n".join(map(str, found)) or "the two cells rest on the same inputs")
    elif options.cell is None:
        raise AddressError("name a cell: TABLE/ROW/COLUMN, for instance main/decoder_it/nli, or --diff A B.")
    elif options.rerun:
        for redone in rerun(suite, root, options.cell, options.suite):
            print(redone)
        print(f"`python -m reports build --suite {suite.name}` puts the new runs into the tables.")
    else:
        for fact in explain(suite, root, options.cell):
            print(fact)


def _claims(suite: Suite | None, root: Path | None, options: argparse.Namespace | None = None) -> None:
    from reports.claims import check_claims, load_claims
    from reports.frame import load_results

    results = None if suite is None or root is None else load_results(suite, root)
    for finding in check_claims(load_claims(), results):
        print(f"{finding.claim.text}\n  {finding.verdict}{': ' if finding.evidence else ''}{finding.evidence}")
        print(f"  source: {finding.claim.source}")


def _import(options: argparse.Namespace) -> None:
    from reports.importing import import_folders

    path = import_folders(options.folders, options.name, options.results)
    print(f"{path}\n`python -m reports build --suite {path}` makes its tables, figures and page.")


def _published(out: Path) -> None:
    from reports.published_figures import write_published

    for path in write_published(out):
        print(path)


def _print(markdown: str) -> None:
    from reports.terminal import render

    sys.stdout.write(render(markdown, shutil.get_terminal_size((120, 40)).columns))


if __name__ == "__main__":
    sys.exit(main())
