// The operations page: asks for the state every two seconds and draws it; actions go through a dialog that confirms.

import { watchTrends } from "./trends.js";

const $ = (id) => document.getElementById(id);
const EVERY_MS = 2000;
const CATEGORIES = 12; // shown at first
let state = null;
let everyCategory = false;
let wanted = null; // what is done once somebody has logged in

// --- small pieces ------------------------------------------------------------------------------------------------

function node(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value == null) continue;
    if (name === "text") made.textContent = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

const number = (value) => Number(value).toLocaleString("en");

function ago(seconds) {
  const steps = [[60, "s"], [60, "min"], [24, "h"], [Infinity, "days"]];
  let value = seconds;
  for (const [size, unit] of steps) {
    if (value < size) return `${Math.floor(value)} ${unit}`;
    value /= size;
  }
  return "";
}

const since = (time) => ago(Math.max(0, (Date.now() - new Date(time)) / 1000));
const clock = (time) => new Date(time).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });

async function call(method, path, body, csrf = "") {
  const reply = await fetch(path, {
    method, headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const found = await reply.json();
  if (!reply.ok) throw new Error(found.detail ?? `the console answers ${reply.status}`);
  return found;
}

function toast(text) {
  $("toast").textContent = text;
  $("toast").classList.add("shown");
  setTimeout(() => $("toast").classList.remove("shown"), 6000);
}

// --- drawing -----------------------------------------------------------------------------------------------------

function tile(label, value, small = "", title = null) {
  return node("div", { class: "tile", title }, node("dt", { text: label }),
    node("dd", { text: value }, small ? node("small", { text: small }) : null));
}

function drawLive(live, answers) {
  if (!live) {
    const text = answers ? "Nothing is live yet. Retrain trains on the catalogue and publishes the first pair."
      : "The store cannot be reached, so what is live cannot be shown. Search goes on serving.";
    return [node("p", { class: "empty", text })];
  }
  const tiles = node("dl", { class: "tiles" },
    tile("Model release", live.release.slice(0, 8), live.recipe ? `recipe ${live.recipe}` : "", live.release),
    tile("Index snapshot", live.index.slice(0, 8), `#${live.sequence}, ${live.action === "rollback" ? "rolled back to" : "published"}`, live.index),
    tile("Age", ago(live.age_s), `since ${clock(live.at)}`),
    tile("Listings", number(live.listings), `${number(live.categories.length)} categories`),
    tile("By", live.by.replace(/ \(.*\)$/, ""), live.by.match(/\((.*)\)$/)?.[1] ?? ""));
  tiles.id = "live-tiles";
  return [tiles];
}

function drawStage(stage) {
  const mark = { completed: "✓", failed: "✗", running: "●", waiting: "○" }[stage.state];
  const percent = stage.state === "completed" ? 100 : stage.bar?.percent ?? 0;
  const text = stage.state === "running" ? stage.bar?.text ?? "starting" : stage.state;
  return node("div", { class: `stage ${stage.state}` },
    node("span", { class: "label" }, node("span", { "aria-hidden": "true", text: mark }), stage.name),
    node("progress", { max: 100, value: percent, "aria-label": `${stage.name}: ${text}` }),
    node("span", { class: "text", text, title: text }));
}

// How long a run will still take, by what runs of its flow took.
function left(run) {
  if (!run.started || !run.expected_s) return run.expected_s ? `, takes ${ago(run.expected_s)} as a rule` : "";
  const seconds = run.expected_s - (Date.now() - new Date(run.started)) / 1000;
  return seconds > 0 ? `, about ${ago(seconds)} left` : `, longer than usual (${ago(run.expected_s)})`;
}

const logButton = (run) => node("button", { class: "button small", type: "button", "data-log": run.id, "data-name": `${run.flow} ${run.name}`, text: "Log" });

function drawRun(run) {
  const when = (run.started ? `running for ${since(run.started)}` : `asked for ${since(run.created)} ago`) + left(run) + (run.by ? `, asked for by ${run.by}` : "");
  return node("article", { class: "run", "data-run": run.id },
    node("div", { class: "title" }, node("strong", { text: run.flow }),
      node("span", { class: "badge", text: run.state }), node("span", { class: "hint", text: when }),
      node("a", { href: run.url, target: "_blank", rel: "noreferrer", text: `${run.name} in Prefect` }),
      logButton(run),
      node("button", { class: "button small danger", type: "button", "data-cancel": run.id, "data-name": `${run.flow} ${run.name}`, text: "Cancel", disabled: run.state === "Cancelling" })),
    node("div", { class: "stages" }, ...run.stages.map(drawStage)));
}

function drawRecent(run) {
  const held = run.state === "Held"; // it completed, and published nothing
  const good = run.state === "Completed" || held;
  const took = run.started && run.ended ? ago((new Date(run.ended) - new Date(run.started)) / 1000) : "";
  return node("li", {},
    node("div", { class: "line" },
      node("span", {}, node("a", { href: run.url, target: "_blank", rel: "noreferrer", text: run.flow }),
        ` ${run.name} `, node("span", { class: `badge ${held ? "" : good ? "good" : "bad"}`, text: run.state })),
      node("span", { class: "hint", text: `${run.ended ? since(run.ended) + " ago" : ""}${took ? `, took ${took}` : ""}` })),
    !run.message || (good && !held) ? null : node("span", { class: held ? "hint" : "why", text: run.message, title: run.raw || null }),
    good ? null : node("span", {}, logButton(run)));
}

const isRejected = (record) => [record.index, record.release].some((id) => state.live.rejected.includes(id));

function drawRecord(record, i) {
  return node("li", {},
    node("div", { class: "line" },
      node("span", {}, `#${record.sequence} `, node("span", { class: "mono", text: record.index.slice(0, 8) }),
        ` of ${""}`, node("span", { class: "mono", text: record.release.slice(0, 8) }), " ",
        i === 0 ? node("span", { class: "badge good", text: "live" }) : null, " ",
        record.action === "rollback" ? node("span", { class: "badge", text: "roll-back" }) : null, " ",
        isRejected(record) ? node("span", { class: "badge bad", text: "rejected" }) : null),
      node("span", { class: "hint", text: `${ago(record.age_s)} ago by ${record.by}` })));
}

function drawAction(action) {
  const bad = action.outcome.startsWith("refused");
  return node("li", {},
    node("div", { class: "line" }, node("span", { text: `${action.action} by ${action.by}` }),
      node("span", { class: "hint", text: `${since(action.at)} ago` })),
    node("span", { class: bad ? "why" : "hint", text: action.outcome }));
}

const breakable = (path) => path.split("/").flatMap((part, i) => (i ? ["/", node("wbr"), part] : [part]));

function drawCategories(live) {
  if (!live) return [node("p", { class: "empty", text: "none" })];
  const most = Math.max(...live.categories.map((category) => category.listings));
  const shown = everyCategory ? live.categories : live.categories.slice(0, CATEGORIES);
  const rows = shown.map((category) => node("tr", {},
    node("th", { scope: "row" }, ...breakable(category.name)),
    node("td", {}, node("progress", { max: most, value: category.listings, "aria-hidden": "true" })),
    node("td", { class: "number", text: number(category.listings) })));
  return [node("table", { class: "bars" }, ...rows)];
}

function drawHold(hold) {
  $("held").hidden = !hold;
  $("held-why").textContent = hold ? `Roll-back #${hold.sequence}, ${ago(hold.age_s)} ago by ${hold.by}${hold.why ? `: ${hold.why}` : ""}` : "";
}

function put(id, children, none = "") {
  const box = $(id);
  const inside = box.tagName === "OL" ? "li" : "p"; // a list has nothing but items
  const drawn = children.length ? children : none ? [node(inside, { class: "empty", text: none })] : [];
  const next = node("div", {}, ...drawn);
  if (box.innerHTML !== next.innerHTML) box.replaceChildren(...next.childNodes); // keeps focus where nothing changed
}

function draw() {
  const { live, runs, you } = state;
  put("live", drawLive(live, state.store_answers));
  put("active", (runs?.active ?? []).map(drawRun), runs ? "Nothing is running." : "Prefect cannot be reached.");
  put("recent", (runs?.recent ?? []).map(drawRecent), runs ? "none yet" : "Prefect cannot be reached.");
  put("history", (live?.history ?? []).map(drawRecord), "nothing yet");
  put("actions", state.actions.map(drawAction), "none yet");
  put("categories", drawCategories(live));
  $("all-categories").hidden = (live?.categories.length ?? 0) <= CATEGORIES;
  $("all-categories").textContent = everyCategory ? "Show the largest" : `Show all ${live?.categories.length}`;
  $("next").textContent = runs?.next ? `next scheduled re-index ${clock(runs.next)}` : "";
  $("problems").hidden = state.problems.length === 0;
  $("problems").textContent = state.problems.join(" · ");
  for (const [id, url] of [["search-link", state.search_url], ["prefect-link", state.prefect_url]]) {
    $(id).hidden = !url;
    if (url) $(id).href = url;
  }
  $("log-in").hidden = you !== null;
  $("log-out").hidden = you === null;
  $("log-out").textContent = you ? `Log out ${you.name}` : "";
  $("refused").hidden = !state.refused;
  $("refused-why").textContent = state.refused?.why ?? "";
  $("refused-by").textContent = state.refused ? `${since(state.refused.at)} ago, asked for by ${state.refused.by}` : "";
  drawHold(live?.hold);
  allow("rollback", live?.back, "There is nothing to go back to.");
  allow("rollback-model", live?.model_back, "No other model release is known that was live and not rejected.");
  for (const action of ["reindex", "retrain"]) {
    allow(action, runs && (live || action === "retrain") && !live?.hold, live?.hold ? "Publishing is held: resume first." : "");
  }
  $("store").textContent = state.store;
  $("updated").textContent = `· ${new Date().toLocaleTimeString("en-GB")}`;
  document.title = runs?.active.length ? "● Lookalike · console" : "Lookalike · console";
}

function allow(action, possible, why) {
  const button = document.querySelector(`[data-action=${action}]`);
  button.disabled = !possible;
  button.title = possible ? "" : why;
}

async function refresh() {
  try {
    state = await call("GET", "/api/state");
    draw();
  } catch (error) {
    $("problems").hidden = false;
    $("problems").textContent = `The console does not answer: ${error.message}`;
  }
}

async function watch() {
  if (!document.hidden) await refresh();
  setTimeout(watch, EVERY_MS);
}

// --- acting ------------------------------------------------------------------------------------------------------

const FIRST = ["recipe", "margin", "why"]; // the other settings lie under "More settings"

function field(name, schema) {
  const id = `field-${name}`;
  const shared = { id, name, "data-type": schema.type ?? "string" };
  const hint = schema.description ? node("span", { class: "hint", text: schema.description }) : null;
  const value = schema.default;
  if (schema.type === "boolean") {
    return node("label", { class: "field check", for: id }, node("input", { ...shared, type: "checkbox", checked: value === true }),
      schema.title ?? name, hint);
  }
  let input;
  if (schema.choices) {
    const needs = node("span", { class: "hint" });
    input = node("select", shared, ...schema.enum.map((choice) => node("option", { value: choice, selected: choice === value, text: choice })));
    const say = () => { needs.textContent = schema.choices[input.value] ?? ""; };
    input.addEventListener("change", say);
    say();
    return node("label", { class: "field", for: id }, schema.title ?? name, input, hint, needs);
  }
  if (schema.enum) {
    input = node("select", shared, ...schema.enum.map((choice) => node("option", { value: choice, selected: choice === value, text: choice })));
  } else if (schema.type === "object") {
    input = node("textarea", { ...shared, rows: 2, placeholder: "seller=sender_id" });
    input.value = Object.entries(value ?? {}).map(([ours, theirs]) => `${ours}=${theirs}`).join("\n");
  } else {
    const numeric = schema.type === "integer" || schema.type === "number";
    input = node("input", { ...shared, type: numeric ? "number" : "text", min: schema.minimum, max: schema.maximum,
      pattern: schema.pattern, maxlength: schema.maxLength, step: schema.type === "integer" ? 1 : numeric ? "any" : null, required: numeric, value: value ?? "" });
  }
  return node("label", { class: "field", for: id }, schema.title ?? name, input, hint);
}

function values(form) {
  const found = {};
  for (const input of form.querySelectorAll("[data-type]")) {
    if (input.dataset.type === "boolean") found[input.name] = input.checked;
    else if (input.dataset.type === "object") {
      found[input.name] = Object.fromEntries(input.value.split("\n").map((line) => line.split("=").map((part) => part.trim()))
        .filter((pair) => pair.length === 2 && pair[0]));
    } else if (["integer", "number"].includes(input.dataset.type)) found[input.name] = Number(input.value);
    else found[input.name] = input.value;
  }
  return found;
}

const WORDS = {
  retrain: ["Retrain", "Trains a new model release on the current catalogue. The live pair serves until the new one has passed the quality gate.", "Start retraining"],
  reindex: ["Re-index", "Brings the index up to the current catalogue, with the live model release.", "Start re-indexing"],
  rollback: ["Roll back", "", "Roll back now"],
  "rollback-model": ["Roll back the model", "", "Roll back the model now"],
  resume: ["Resume publishing", "Scheduled runs publish again: the next re-index brings the index up to the current catalogue. What was rejected is never published by them.", "Resume now"],
  accept: ["Publish anyway", "", "Publish it"],
  cancel: ["Cancel the run", "It stops as soon as its step can. What is live stays live; what it has done is kept, and the next run goes on from there.", "Cancel it"],
};
const WHY = { why: { type: "string", title: "Why", maxLength: 300, default: "", description: "Kept with the hold, for those who find it." } };
const FORMS = { rollback: WHY, "rollback-model": WHY, resume: {}, accept: {}, cancel: {} }; // the others' come from their flows

function rollBackText(live, back) {
  return `Index snapshot ${live.index} (#${live.sequence}) goes and is rejected${back.release === live.release ? "" : ", and so is its model release"}; `
    + `${back.index} of model release ${back.release}, made live ${ago(back.age_s)} ago, comes back. Searches go on meanwhile. Runs publish nothing until somebody resumes.`;
}

function confirmText(action, live) {
  if (action === "rollback" && live?.back) return rollBackText(live, live.back);
  if (action === "rollback-model" && live?.model_back) return rollBackText(live, live.model_back);
  if (action === "accept") return `You accept these numbers, and it goes on record. ${state.refused?.why ?? ""}`;
  return WORDS[action][1];
}

function requestOf(action, dialog, form) {
  if (action.startsWith("rollback")) return { from_sequence: Number(dialog.dataset.sequence), ...values(form) };
  if (action === "resume") return { sequence: Number(dialog.dataset.hold) };
  if (action === "cancel") return { run: dialog.dataset.run };
  if (action === "accept") return { index: dialog.dataset.refused };
  return { parameters: values(form) };
}

async function ask(action, run = null) {
  if (!state) return;
  if (!state.you) {
    wanted = () => ask(action, run);
    open($("login"));
    return;
  }
  const [title, , go] = WORDS[action];
  const dialog = $("confirm");
  dialog.dataset.action = action;
  $("confirm-title").textContent = run ? `${title}: ${run.name}` : title;
  dialog.dataset.run = run?.id ?? "";
  $("confirm-go").textContent = go;
  $("confirm-text").textContent = confirmText(action, state.live);
  dialog.dataset.sequence = state.live?.sequence ?? "";
  dialog.dataset.hold = state.live?.hold?.sequence ?? "";
  dialog.dataset.refused = state.refused?.index ?? "";
  $("fields").replaceChildren();
  $("more-fields").replaceChildren();
  let form = FORMS[action];
  try {
    form ??= await call("GET", `/api/forms/${action}`);
  } catch (error) {
    toast(error.message);
    return;
  }
  const order = (name) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
  for (const [name, schema] of Object.entries(form).sort(([a], [b]) => order(a) - order(b))) {
    $(FIRST.includes(name) ? "fields" : "more-fields").append(field(name, schema));
  }
  $("more").hidden = $("more-fields").childElementCount === 0;
  open(dialog);
}

function open(dialog) {
  const error = dialog.querySelector(".error");
  error.hidden = true;
  dialog.showModal();
}

function fail(dialog, message) {
  const error = dialog.querySelector(".error");
  error.textContent = message;
  error.hidden = false;
}

$("confirm-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const dialog = $("confirm");
  const action = dialog.dataset.action;
  const body = requestOf(action, dialog, event.target);
  $("confirm-go").disabled = true;
  try {
    const done = await call("POST", `/api/actions/${action}`, { confirm: action, ...body }, state.you?.csrf);
    dialog.close();
    toast(done.message);
  } catch (error) {
    fail(dialog, error.message);
  } finally {
    $("confirm-go").disabled = false;
    await refresh();
  }
});

$("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const data = new FormData(event.target);
  try {
    await call("POST", "/api/session", { name: data.get("name"), token: data.get("token") });
    event.target.reset();
    $("login").close();
    await refresh();
    const next = wanted;
    wanted = null;
    next?.();
  } catch (error) {
    fail($("login"), error.message);
  }
});

async function showLog(run) {
  if (!state.you) {
    wanted = () => showLog(run);
    open($("login"));
    return;
  }
  $("logs-title").textContent = `Log of ${run.name}`;
  $("log-lines").replaceChildren("…");
  open($("logs"));
  try {
    const { lines } = await call("GET", `/api/runs/${run.id}/logs`);
    const drawn = lines.map((line) => node("span", { class: line.level, text: `${new Date(line.at).toLocaleTimeString("en-GB")} ${line.text}\n` }));
    $("log-lines").replaceChildren(...(drawn.length ? drawn : ["It has logged nothing yet."]));
    $("log-lines").scrollTop = $("log-lines").scrollHeight;
  } catch (error) {
    $("log-lines").replaceChildren();
    fail($("logs"), error.message);
  }
}

document.addEventListener("click", (event) => {
  const { log, cancel, name } = event.target.dataset ?? {};
  if (log) showLog({ id: log, name });
  if (cancel) ask("cancel", { id: cancel, name });
});
$("log-in").addEventListener("click", () => { wanted = null; open($("login")); });
$("log-out").addEventListener("click", async () => { await call("DELETE", "/api/session"); await refresh(); });
for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
for (const button of document.querySelectorAll("[data-action]")) button.addEventListener("click", () => ask(button.dataset.action));
$("all-categories").addEventListener("click", () => { everyCategory = !everyCategory; draw(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
watch();
watchTrends();
