"""LaTeX of every kind of table: well formed in any case, set by a real TeX where one is at hand."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import synthetic_results as synthetic

from reports.claims import check_claims, claims_table, load_claims
from reports.frame import load_results
from reports.published import load_published_specs, published_table
from reports.render import to_latex
from reports.tables import build_tables, load_specs

DOCUMENT = r"""\documentclass{article}
\usepackage[utf8]{inputenc}\usepackage[T1]{fontenc}\usepackage{booktabs,graphicx}
\begin{document}
%s
\end{document}
"""


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    base = tmp_path_factory.mktemp("latex")
    suite = synthetic.make_suite(systems=("decoder_it", "decoder_im", "instruct_xmlr"))
    synthetic.write_results(base / "toy", suite, per_language=3)
    made = build_tables(load_results(suite, base / "toy", synthetic.write_groups(base / "tasks")), load_specs())
    claims = claims_table(check_claims(load_claims(), None))
    specs = {name: spec for name, spec in load_published_specs().items() if name != "xmtf_table9"}
    return [*made.values(), claims, *(published_table(name, spec) for name, spec in specs.items())]


def test_every_row_has_as_many_cells_as_the_head(tables):
    for table in tables:
        text = to_latex(table, "toy")
        body = text.partition(r"\toprule")[2].partition(r"\bottomrule")[0]
        rows = [line for line in body.splitlines() if line.rstrip().endswith(r"\\")]
        assert len(rows) == len(table.rows) + 1
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(table.stubs) + len(table.columns)}
        plain = re.sub(r"\\[{}%]", "", re.sub(r"(?m)(?<!\\)%.*$", "", text))
        assert plain.count("{") == plain.count("}"), table.name


def test_a_real_tex_sets_all_tables(tables, tmp_path):
    tex = shutil.which("pdflatex")
    if tex is None:
        pytest.skip("no pdflatex on this machine: the tables are only checked for their structure")
    body = "\n\\clearpage\n".join(to_latex(table, "toy") for table in tables)
    (tmp_path / "all.tex").write_text(DOCUMENT % body, encoding="utf-8")
    command = [tex, "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=900)
    assert done.returncode == 0, done.stdout[-2000:]
