"""The page: complete, small, asks for nothing, shows hostile text as text; driven in a real browser where one is at hand."""

from __future__ import annotations

import json
import random
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import synthetic_results as synthetic
from browser import find_browser, in_browser

from reports.frame import load_results
from reports.report import build
from reports.samples import FrameError
from reports.site import traces
from reports.site_items import pack, packed_items, task_items, thinned, unpack
from reports.views import evenly

HOSTILE = "<script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">"
SYSTEMS = ("decoder_it", "instruct_xmlr")


def hostile_samples(root: Path, suite) -> None:
    """One run whose prompt, choices and answers are attempts at markup."""
    for task in ("mini_heldin_gen", "mini_copa"):
        lines = synthetic.samples(task, 0.5, 2, random.Random(0))
        for line in lines:
            if task == "mini_copa":
                line["arguments"] = {f"gen_args_{k}": {"arg_0": HOSTILE, "arg_1": " " + HOSTILE} for k in range(2)}
                line["target"] = str(line["doc"]["gold"])
            else:
                line["arguments"] = {"gen_args_0": {"arg_0": HOSTILE, "arg_1": {"until": []}}}
                line |= {"resps": [[HOSTILE]], "filtered_resps": [HOSTILE]}
        for seed in suite.seeds:
            synthetic.write_run(root, suite, "decoder_it", seed, "main", task, lines)


def write_trace(root: Path, system: str) -> Path:
    """A trace of two passes over two tokens, as harness/traces.py writes it."""
    passes = [
        [
            {"token": "</script>", "probability": 0.9, "state": "written"},
            {"token": "b", "probability": 0.2, "state": "hidden"},
        ],
        [
            {"token": "</script>", "probability": 0.9, "state": "held"},
            {"token": "c", "probability": 0.75, "state": "written"},
        ],
    ]
    trace = {
        "mode": "xmlr_4", "label": "Mask-predict", "system": system, "seed": 0, "task": "mini_retell", "doc_id": 0,
        "prompt": HOSTILE, "reference": "a c", "answer": "</script> c", "decoder": "mask_predict", "settings": {"steps": 2},
        "passes": passes,
    }  # fmt: skip
    path = root / "speed" / "traces.jsonl"
    path.write_text(json.dumps(trace) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(suite, results folder) with a page of hostile texts."""
    root = tmp_path_factory.mktemp("site") / "toy"
    suite = synthetic.make_suite(systems=SYSTEMS)
    synthetic.write_results(root, suite, per_language=2)
    hostile_samples(root, suite)
    write_trace(root, "instruct_xmlr")
    build(suite, root)
    return suite, root


@pytest.fixture(scope="module")
def browser():
    found = find_browser()
    if found is None:
        pytest.skip("no Chromium on this machine: the page's script is not driven here (apt install chromium)")
    return found


class Tags(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_the_page_asks_for_no_other_file_and_holds_no_foreign_markup(made):
    text = (made[1] / "report/index.html").read_text(encoding="utf-8")
    tags = Tags(text).found
    addresses = [value for _, attributes in tags for name in ("src", "href") if (value := attributes.get(name))]
    assert addresses and all(address.startswith(("data:", "#")) for address in addresses)
    assert "onerror" not in re.sub(r'application/gzip"[^<]*', "", text)
    scripts = [attributes for tag, attributes in tags if tag == "script"]
    assert [s for s in scripts if s.get("type") != "application/gzip"] == [{}]
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_page_is_the_same_for_the_same_results(made):
    suite, root = made
    before = (root / "report/index.html").read_bytes()
    build(suite, root)
    assert (root / "report/index.html").read_bytes() == before


def test_items_hold_every_answer_of_every_system(made):
    suite, root = made
    results = load_results(suite, root)
    items = task_items(results, "mini_copa")
    assert items["total"] == len(items["items"]) == 12
    runs = {(run["s"], run["d"], run["e"]): run for run in items["runs"]}
    assert set(runs) == {("decoder_it", 0, "main"), ("decoder_it", 1, "main")} | {
        ("instruct_xmlr", seed, e) for seed in (0, 1) for e in ("main", "one_pass", "pll")
    }
    line = json.loads((root / "runs/instruct_xmlr-1/pll/mini_copa/samples.jsonl").read_text().splitlines()[3])
    run = runs["instruct_xmlr", 1, "pll"]
    assert run["x"][3] == [float(score) for score, _ in line["filtered_resps"]]
    assert (run["v"][3], run["k"]) == (line["acc"], "pseudo")


def test_items_are_thinned_evenly_to_the_size_asked_for(made):
    suite, root = made
    results = load_results(suite, root)
    whole = packed_items(results, 10**9)
    size = int(0.7 * sum(map(len, whole.values())))
    small = packed_items(results, size)
    assert sum(map(len, small.values())) <= size
    assert all(len(unpack(text)["items"]) == 1 for text in packed_items(results, 1).values())
    kept, every = unpack(small["mini_nli"]), unpack(whole["mini_nli"])
    assert kept["total"] == every["total"] == 12 > len(kept["items"]) >= 1
    numbers = [item["n"] for item in kept["items"]]
    assert kept["runs"][0]["v"] == [every["runs"][0]["v"][n] for n in numbers]
    assert evenly(10, 3) == [0, 4, 9] and evenly(3, 5) == [0, 1, 2]
    assert len(thinned(every, 0.5)["items"]) == 6
    assert pack(every) == whole["mini_nli"]


def test_a_line_that_is_no_trace_is_named(made, tmp_path):
    suite, root = made
    shutil.copytree(root, tmp_path / "toy")
    results = load_results(suite, tmp_path / "toy")
    assert [trace["label"] for trace in traces(results)] == ["Mask-predict"]
    (tmp_path / "toy/speed/traces.jsonl").write_text('{"mode": 1}\n')
    with pytest.raises(FrameError, match="traces.jsonl holds a line that is no trace"):
        traces(results)
    (tmp_path / "toy/speed/traces.jsonl").unlink()
    assert traces(results) == []


SCRIPT = """
  const result = { title: document.title };
  const table = document.querySelector("table[data-table=main]");
  const column = [...table.tHead.rows[0].cells].findIndex((c) => c.textContent === "NLI");
  const values = () => [...table.tBodies[0].rows].map((r) => Number(r.cells[column].dataset.value));
  const press = () => table.tHead.rows[0].cells[column].firstChild.click();
  press(); result.down = values(); press(); result.up = values();
  const cell = table.querySelector("button.cell");
  cell.click(); await new Promise((r) => setTimeout(r, 300));
  result.dialog = document.getElementById("cell").open && document.getElementById("cell-body").textContent;
  document.getElementById("cell").close();
  const pick = document.getElementById("item-task");
  pick.value = "mini_heldin_gen"; await loadTask();
  result.count = document.getElementById("item-count").textContent;
  result.item = document.getElementById("item-view").textContent;
  result.markup = document.getElementById("item-view").querySelectorAll("script, img").length;
  document.getElementById("item-list").dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true }));
  result.current = [...document.querySelectorAll("#item-list button")].findIndex((b) => b.getAttribute("aria-current"));
  pick.value = "mini_copa"; await loadTask();
  result.choices = document.querySelectorAll("#item-view .card")[0].querySelectorAll(".choice").length;
  document.getElementById("item-filter").value = "paradigms"; listItems();
  result.disagree = shown.order.length;
  await loadTraces();
  result.passes = document.querySelectorAll("#trace-view .steps > div").length;
  result.trace = document.getElementById("trace-view").textContent;
  result.after = document.title;
  result.width = [document.documentElement.scrollWidth, window.innerWidth];
  result.back = getComputedStyle(document.body).backgroundColor;
  return result;
"""


def test_the_page_works_in_a_browser_on_a_desk(made, browser):
    suite, root = made
    got = in_browser(browser, root / "report/index.html", SCRIPT, "--window-size=1400,900")
    assert got["errors"] == [] and all(name.startswith("data:") for name in got["asked"])
    value = got["value"]
    assert value["down"] == sorted(value["down"], reverse=True) and value["up"] == value["down"][::-1]
    assert "main/instruct_xmlr/" in value["dialog"] and "By language" in value["dialog"]
    assert HOSTILE in value["item"] and value["markup"] == 0 and value["title"] == value["after"] == "toy: results"
    assert value["count"].startswith("12 items") and value["current"] == 1 and value["choices"] == 2
    assert 0 < value["disagree"] < 12
    assert value["passes"] == 2 and "</script>" in value["trace"] and "75 %" in value["trace"]


def test_the_page_fits_a_phone_and_follows_the_dark_setting(made, browser):
    suite, root = made
    got = in_browser(
        browser, root / "report/index.html", SCRIPT, "--window-size=500,900", "--blink-settings=preferredColorScheme=0"
    )
    assert got["errors"] == []
    width, window = got["value"]["width"]
    assert width <= window, "the page scrolls sideways"
    assert got["value"]["back"] == "rgb(20, 23, 27)"
