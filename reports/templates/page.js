"use strict";
// All text reaches the page as text nodes: nothing a model wrote is ever read as markup.
const $ = (id) => document.getElementById(id);
const unpacked = new Map();

async function data(name) {
  if (!unpacked.has(name)) {
    const holder = $("data-" + name);
    if (!holder) return null;
    const bytes = Uint8Array.from(atob(holder.textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    unpacked.set(name, new Response(stream).json());
  }
  return unpacked.get(name);
}

function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") node.className = value;
    else if (key in node) node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function drawing(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// -- tables ---------------------------------------------------------------------------------------------------------

function sortKey(cell) {
  if (!cell) return [2, 0];
  if (cell.dataset.value !== undefined) return [0, Number(cell.dataset.value)];
  const text = cell.textContent.trim();
  const number = parseFloat(text.replace("−", "-"));
  if (text === "" || text === "—" || text === "·") return [2, 0];
  return Number.isNaN(number) ? [1, text] : [0, number];
}

function compare(a, b, direction) {
  if (a[0] === 2 || b[0] === 2) return a[0] - b[0]; // absent cells stay last either way
  if (a[0] !== b[0]) return direction * (a[0] - b[0]);
  if (a[0] === 1) return direction * String(a[1]).localeCompare(String(b[1]));
  return direction * (a[1] - b[1]);
}

function sortBy(heading) {
  const table = heading.closest("table");
  const index = [...heading.parentNode.children].indexOf(heading);
  const numbers = heading.classList.contains("number");
  const was = heading.getAttribute("aria-sort");
  const order = was ? (was === "descending" ? "ascending" : "descending") : numbers ? "descending" : "ascending";
  for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", order);
  const direction = order === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, key: sortKey(row.cells[index]) }));
  rows.sort((a, b) => compare(a.key, b.key, direction));
  body.append(...rows.map((entry) => entry.row));
}

const FACTS = {
  stderr: "standard error", low: "95 % low", high: "95 % high", low_items: "95 % low, these checkpoints",
  high_items: "95 % high, these checkpoints", seed_values: "by seed", seed_sd: "sd over seeds", n_items: "items",
  chance: "chance", p_holm: "p above chance (Holm)", p_best: "p: better than every other row (Holm)", detectable: "smallest detectable difference to the nearest row", estimator_error: "standard error of other masks alone (these items, these weights)", rank_flip: "probability that a repetition orders the two the other way", kind: "score kind", p: "p",
};

async function openCell(button) {
  const table = button.closest("table");
  const key = button.dataset.row + "|" + button.dataset.column;
  const cells = await data("cells");
  const facts = (cells[table.dataset.table] || {})[key];
  if (!facts) return;
  const address = table.dataset.table + "/" + button.dataset.row + "/" + button.dataset.column;
  const { suite } = await data("meta");
  const list = element("dl");
  for (const [name, label] of Object.entries(FACTS)) {
    if (facts.facts[name] === undefined) continue;
    const value = facts.facts[name];
    const text = typeof value === "number" ? String(Math.round(value * 1000) / 1000) : String(value).replaceAll(";", ", ").replace(/(\.\d{3})\d+/g, "$1");
    list.append(element("dt", {}, label), element("dd", {}, text));
  }
  const parts = [element("h3", { id: "cell-title" }, address + ": " + button.textContent), list];
  if (facts.missing.length) parts.push(element("p", {}, "Not run yet: " + facts.missing.join(", ") + ". "), element("code", {}, "make tables SUITE=" + suite));
  if (facts.languages.length) parts.push(element("h4", {}, "By language, %"), languageBars(facts.languages));
  if (facts.runs.length) parts.push(element("h4", {}, "Runs"), element("ul", {}, ...facts.runs.map((run) => element("li", {}, element("code", {}, run)))));
  parts.push(element("p", {}, element("code", {}, "python -m reports explain " + address + " --suite " + suite)));
  $("cell-body").replaceChildren(...parts);
  $("cell").showModal();
}

function languageBars(lines) {
  const box = element("div", { class: "bars" });
  for (const [language, value, error, n] of lines) {
    const bar = element("i", {}, element("b", { style: "width:" + value + "%" }));
    if (error !== null) {
      const low = Math.max(0, value - 1.96 * error), high = Math.min(100, value + 1.96 * error);
      bar.append(element("u", { style: "left:" + low + "%;width:" + (high - low) + "%" }));
    }
    box.append(element("span", {}, language), bar, element("span", {}, value.toFixed(1) + (error === null ? "" : " ± " + error.toFixed(1)) + " (" + n + ")"));
  }
  return box;
}

// -- items ----------------------------------------------------------------------------------------------------------

const PAGE = 200;
let shown = { task: "", items: null, order: [], current: 0 };

async function loadTask() {
  const task = $("item-task").value;
  if (!task) return;
  const items = await data("items-" + task);
  const meta = await data("meta");
  shown = { task, items, order: [], current: 0, meta, gaps: gapsBetweenParadigms(items, meta) };
  const languages = [...new Set(items.items.map((item) => item.l).filter((l) => l !== null && l !== undefined))];
  $("item-language").replaceChildren(element("option", { value: "" }, "all"), ...languages.map((l) => element("option", { value: l }, l)));
  listItems();
}

function gapsBetweenParadigms(items, meta) {
  // the largest difference, over paradigms, of the mean value of an item under the main evaluation
  return items.items.map((_, i) => {
    const sums = {};
    for (const run of items.runs) {
      if (run.e !== meta.evaluations[0] || run.v[i] === null) continue;
      const entry = (sums[meta.systems[run.s].paradigm] ||= [0, 0]);
      entry[0] += run.v[i];
      entry[1] += 1;
    }
    const means = Object.values(sums).map(([sum, n]) => sum / n);
    return means.length ? { gap: Math.max(...means) - Math.min(...means), best: Math.max(...means) } : { gap: 0, best: 1 };
  });
}

function listItems() {
  const { items, gaps } = shown;
  if (!items) return;
  const language = $("item-language").value, filter = $("item-filter").value, words = $("item-search").value.toLowerCase();
  let order = items.items.map((_, i) => i).filter((i) => {
    const item = items.items[i];
    if (language && item.l !== language) return false;
    if (words && !(item.id + " " + item.p).toLowerCase().includes(words)) return false;
    if (filter === "paradigms") return gaps[i].gap > 0;
    return filter !== "wrong" || gaps[i].best === 0;
  });
  if (filter === "paradigms") order.sort((a, b) => gaps[b].gap - gaps[a].gap || a - b);
  shown.order = order;
  const held = items.items.length < items.total ? ", " + items.items.length + " of " + items.total + " are on this page" : "";
  $("item-count").textContent = order.length + " items" + (order.length > PAGE ? ", the first " + PAGE + " listed" : "") + held + ".";
  const buttons = order.slice(0, PAGE).map((i) => {
    const item = items.items[i];
    const button = element("button", { type: "button" }, item.p.slice(0, 90), element("small", {}, item.id + (gaps[i].gap ? " · paradigms differ by " + gaps[i].gap.toFixed(2) : "")));
    button.addEventListener("click", () => showItem(i, button));
    return element("li", {}, button);
  });
  $("item-list").replaceChildren(...buttons);
  if (order.length) showItem(order[0], buttons[0].firstChild);
  else $("item-view").replaceChildren();
}

function showItem(index, button) {
  for (const other of $("item-list").querySelectorAll("[aria-current]")) other.removeAttribute("aria-current");
  button.setAttribute("aria-current", "true");
  const { items, meta } = shown;
  const item = items.items[index];
  const parts = [element("h3", {}, item.id), element("div", { class: "prompt" }, item.p)];
  if (item.t !== undefined) parts.push(element("p", {}, "Reference: ", element("span", { class: "answer" }, item.t)));
  const order = Object.keys(meta.systems);
  const runs = items.runs.slice().sort((a, b) => meta.evaluations.indexOf(a.e) - meta.evaluations.indexOf(b.e) || order.indexOf(a.s) - order.indexOf(b.s) || a.d - b.d);
  parts.push(element("div", { class: "cards" }, ...runs.map((run) => card(run, item, index))));
  $("item-view").replaceChildren(...parts);
}

function card(run, item, index) {
  const system = shown.meta.systems[run.s];
  const answer = run.x[index], value = run.v[index];
  const about = [system.paradigm, "seed " + run.d, run.e === shown.meta.evaluations[0] ? null : run.e, run.k, run.o ? "† oracle length" : null].filter(Boolean).join(" · ");
  const box = element("div", { class: "card" }, element("h4", {}, system.label + " ", element("small", {}, about)));
  if (answer === null || answer === undefined) return box.append("not scored"), box;
  box.append(Array.isArray(answer) ? choices(answer, (run.se || [])[index], item) : element("div", { class: "answer" }, answer === "" ? "(empty)" : answer));
  if (value !== null) box.append(element("div", { class: value === 1 ? "right" : value === 0 ? "wrong" : "" }, (value === 1 ? "✓ " : value === 0 ? "✗ " : "") + shown.items.metric + " " + value));
  return box;
}

function choices(scores, errors, item) {
  const known = scores.filter((s) => s !== null);
  const spread = scores.map((s, k) => 1.96 * ((errors || [])[k] || 0));
  const high = Math.max(...scores.map((s, k) => (s === null ? -Infinity : s + spread[k])));
  const low = Math.min(...scores.map((s, k) => (s === null ? Infinity : s - spread[k])), high - 1);
  const place = (s) => 2 + (96 * (s - low)) / (high - low);
  const best = Math.max(...known);
  return element("div", {}, ...scores.map((score, k) => {
    const text = (k === item.g ? "● " : "○ ") + (item.c ? item.c[k] : k);
    if (score === null) return element("div", { class: "choice" }, element("span", {}, text), element("span", {}, "no number"));
    const label = score.toFixed(2) + " nats" + (spread[k] ? " ± " + spread[k].toFixed(2) : "");
    const plot = drawing("svg", { viewBox: "0 0 100 18", role: "img", "aria-label": label },
      drawing("line", { x1: 2, x2: 98, y1: 5, y2: 5, stroke: "currentColor", "stroke-opacity": 0.2 }),
      drawing("line", { x1: place(score - spread[k]), x2: place(score + spread[k]), y1: 5, y2: 5, stroke: "currentColor", "stroke-width": 2 }),
      drawing("circle", { cx: place(score), cy: 5, r: 3, fill: score === best ? "rgb(var(--sure))" : "currentColor" }),
      drawing("text", { x: 98, y: 17, "text-anchor": "end" }, label));
    return element("div", { class: "choice" + (score === best ? " picked" : "") }, element("span", {}, text), plot);
  }));
}

// -- traces ---------------------------------------------------------------------------------------------------------

let traces = [], trace = null, timer = 0;

async function loadTraces() {
  traces = (await data("traces")) || [];
  const meta = await data("meta");
  if (!traces.length) {
    $("trace-controls").hidden = true;
    $("trace-view").replaceChildren(element("p", {}, "No trace was recorded: ", element("code", {}, "python -m harness speed --suite " + meta.suite + " --only traces"), " records those that the suite asks for."));
    return;
  }
  const modes = [...new Set(traces.map((t) => t.label))];
  $("trace-system").replaceChildren(...modes.map((label) => element("option", { value: label }, label)));
  listTraces();
}

function listTraces() {
  const own = traces.map((t, i) => [t, i]).filter(([t]) => t.label === $("trace-system").value);
  $("trace-item").replaceChildren(...own.map(([t, i]) => element("option", { value: i }, t.task + " " + t.doc_id + " (" + t.passes.length + " passes, " + (t.passes[0] || []).length + " tokens)")));
  showTrace();
}

function showTrace() {
  trace = traces[Number($("trace-item").value)];
  if (!trace) return;
  $("trace-step").max = trace.passes.length;
  $("trace-step").value = trace.passes.length;
  drawTrace();
}

function place({ token, probability, state }) {
  const box = element("span", { class: "token " + state, title: state.replace("_", " ") }, token === null ? "▢" : token);
  if (probability !== null) {
    if (state !== "hidden") box.style.background = "rgba(var(--sure)," + (0.08 + 0.62 * probability).toFixed(2) + ")";
    box.append(element("small", {}, Math.round(100 * probability) + " %"));
  }
  return box;
}

function drawTrace() {
  const step = Number($("trace-step").value);
  const about = [trace.decoder, ...Object.entries(trace.settings).map(([k, v]) => k + "=" + v), "seed " + trace.seed].join(", ");
  const parts = [element("p", {}, about), element("div", { class: "prompt" }, trace.prompt)];
  const steps = element("div", { class: "steps", tabindex: "0" });
  trace.passes.slice(0, step).forEach((places, n) => {
    steps.append(element("div", { class: n === step - 1 ? "current" : "" },
      element("small", {}, "After pass " + (n + 1)), element("div", { class: "canvas" }, ...places.map(place))));
  });
  parts.push(steps);
  if (step === trace.passes.length) {
    parts.push(element("p", {}, "Answer: ", element("span", { class: "answer" }, trace.answer)), element("p", {}, "Reference: ", element("span", { class: "answer" }, trace.reference)));
  }
  $("trace-view").replaceChildren(...parts);
  steps.scrollTop = steps.scrollHeight;
}

function play() {
  clearInterval(timer);
  $("trace-step").value = 0;
  drawTrace();
  timer = setInterval(() => {
    const step = Number($("trace-step").value) + 1;
    if (!trace || step > trace.passes.length) return clearInterval(timer);
    $("trace-step").value = step;
    drawTrace();
  }, 700);
}

// -- start ----------------------------------------------------------------------------------------------------------

document.addEventListener("click", (event) => {
  const heading = event.target.closest("table.sortable thead th button");
  if (heading) return sortBy(heading.parentNode);
  const cell = event.target.closest("button.cell");
  if (cell) openCell(cell);
});
for (const id of ["item-language", "item-filter"]) $(id).addEventListener("change", listItems);
$("item-task").addEventListener("change", loadTask);
$("item-search").addEventListener("input", listItems);
$("item-controls").addEventListener("submit", (event) => event.preventDefault());
$("item-list").addEventListener("keydown", (event) => {
  const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!move) return;
  event.preventDefault();
  const buttons = [...$("item-list").querySelectorAll("button")];
  const at = buttons.findIndex((button) => button.getAttribute("aria-current"));
  const next = buttons[Math.min(buttons.length - 1, Math.max(0, at + move))];
  if (next) { next.click(); next.focus(); }
});
$("trace-system").addEventListener("change", listTraces);
$("trace-item").addEventListener("change", showTrace);
$("trace-step").addEventListener("input", drawTrace);
$("trace-play").addEventListener("click", play);
$("trace-controls").addEventListener("submit", (event) => event.preventDefault());

const lazily = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    lazily.unobserve(entry.target);
    if (entry.target.id === "items") loadTask();
    else loadTraces();
  }
}, { rootMargin: "600px" });
lazily.observe($("items"));
lazily.observe($("traces"));
