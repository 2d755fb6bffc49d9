// The search page: state, and what changes it. Rendering is in view.js, the crop box in crop.js, requests in api.js.

import { Problem, catalogue, listing, photoUrl, search, shrink } from "./api.js";
import { CropBox } from "./crop.js";
import { card, chip, count, example, facts, leaf, node, price, problem, skeletons, timing } from "./view.js";

const K = 24;
const LAST = 1000; // the last place that the API answers
const VALUES_AT_FIRST = 8;
const LIKELY = 0.3; // an aspect value that is less probable is not offered
const $ = (id) => document.getElementById(id);

const state = {
  query: null, // {kind: "photo", blob, url} or {kind: "listing", id, photoId, title}
  guesses: [], // categories as the last reply without a choice of categories gave them
  chosen: null, // Set of categories, or null: as predicted
  everything: false, // all categories, and some hits by look alone
  aspects: new Map(), // name -> Set of values
  stock: null, // /v1/catalogue
  running: null, // AbortController
  timer: 0,
};

const crop = new CropBox($("crop"), () => { $("whole").hidden = !crop.value; later(200); });

// --- searching -----------------------------------------------------------------------------------------------

function later(milliseconds) {
  clearTimeout(state.timer);
  state.timer = setTimeout(run, milliseconds);
}

async function run({ offset = 0 } = {}) {
  clearTimeout(state.timer);
  if (!state.query) return;
  state.running?.abort();
  const mine = (state.running = new AbortController());
  if (!offset) showBusy();
  const started = performance.now();
  try {
    const reply = await search(state.query, {
      k: K, offset, alpha: $("alpha").value, colour: colourAsked(), categories: state.chosen ?? [], everything: state.everything, aspects: state.aspects,
      price: [$("price-from").value, $("price-to").value], box: state.query.kind === "photo" ? crop.value : null,
    }, mine.signal);
    if (mine !== state.running) return;
    if (offset) showMore(reply);
    else showReply(reply, performance.now() - started);
  } catch (error) {
    if (error.name !== "AbortError" && mine === state.running) showProblem(error);
  }
}

async function searchPhoto(file) {
  if (!file) return;
  const blob = await shrink(file);
  if (state.query?.url) URL.revokeObjectURL(state.query.url);
  begin({ kind: "photo", blob, url: URL.createObjectURL(blob) });
  remember(null);
}

function searchListing(entry, { push = true } = {}) {
  begin({ kind: "listing", id: entry.listing_id, photoId: entry.photo_id, title: entry.title || leaf(entry.category) });
  if (push) remember(entry);
  window.scrollTo({ top: 0 });
}

function begin(query) {
  state.query = query;
  state.chosen = null;
  state.everything = false;
  state.guesses = [];
  $("understood").hidden = $("timing").hidden = true;
  crop.reset({ silently: true });
  showQuery();
  run();
}

function remember(entry) {
  const hash = entry ? `#listing=${encodeURIComponent(entry.listing_id)}` : location.pathname;
  history.pushState({ entry: entry && { listing_id: entry.listing_id, photo_id: entry.photo_id, title: entry.title, category: entry.category } }, "", hash);
}

// --- showing -------------------------------------------------------------------------------------------------

function showQuery() {
  const { query } = state;
  $("drop").hidden = Boolean(query);
  $("preview").hidden = !query;
  if (!query) return;
  const photo = query.kind === "photo";
  const image = $("query-photo");
  const legible = (yes) => {
    image.hidden = !yes;
    $("unreadable").hidden = yes;
    crop.show(yes && photo);
    $("crop-help").hidden = !(yes && photo);
  };
  image.onload = () => legible(true);
  image.onerror = () => legible(false);
  crop.show(false);
  $("whole").hidden = true;
  image.src = photo ? query.url : photoUrl(query.photoId, 480);
  image.alt = photo ? "Your query photo" : `Photo of ${query.title}`;
  $("query-label").hidden = photo;
  $("query-label").textContent = photo ? "" : `More like “${query.title}”`;
}

function showBusy() {
  $("more-hits").hidden = true;
  $("status").textContent = "Searching …";
  $("message").hidden = true;
  $("results").setAttribute("aria-busy", "true");
  const grid = $("grid");
  if (grid.querySelector("[data-listing]:not(.example)")) grid.classList.add("stale");
  else grid.replaceChildren(...skeletons(8));
  $("results-title").textContent = state.query.kind === "photo" ? "Listings that look like your photo" : "More like this";
}

function settled() {
  $("results").removeAttribute("aria-busy");
  $("grid").classList.remove("stale");
}

function showReply(reply, roundTrip) {
  settled();
  if (!state.chosen && !state.everything) state.guesses = reply.categories;
  showUnderstood(reply);
  $("timing").replaceChildren(...timing(reply, roundTrip));
  $("timing").hidden = false;
  $("grid").replaceChildren(...cards(reply));
  const searched = reply.categories.filter((guess) => guess.opened).length;
  $("status").textContent = `${reply.hits.length} hits among ${count(reply.scanned)} listings in ${state.everything ? "all categories" : searched === 1 ? "1 category" : `${searched} categories`}`;
  offerMore(reply);
  const empty = reply.hits.length === 0;
  $("message").hidden = !empty && !reply.nothing_alike;
  $("message").className = "message";
  if (!empty && reply.nothing_alike) showNothingAlike();
  if (empty) {
    $("message").replaceChildren(
      node("strong", {}, "Nothing passes these filters"),
      node("p", {}, "Open more categories, or let more listings through."),
      node("div", { className: "row" }, node("button", { type: "button", className: "button", onclick: clearFilters }, "Clear filters")));
  }
}

const cards = (reply) => reply.hits.map((hit) => card(hit, reply.bits, { open: showDetail, more: searchListing }));

// The next hits of the same search, below those that are shown; the first of them gets the focus.
function showMore(reply) {
  settled();
  const next = cards(reply);
  $("grid").append(...next);
  offerMore(reply);
  $("status").textContent = next.length ? `${$("grid").children.length} hits shown` : "There are no more";
  next[0]?.querySelector("button").focus();
}

function offerMore(reply) {
  const shown = $("grid").children.length;
  $("more-hits").hidden = reply.hits.length < K || shown + K > LAST;
}

// Said above the nearest hits, which stay: they may still be worth a look.
function showNothingAlike() {
  const filtered = Number($("filter-count").textContent) > 0;
  const narrowed = filtered || state.chosen;
  const where = narrowed ? "Nothing among these listings" : "Nothing in this shop";
  const wider = filtered
    ? node("button", { type: "button", className: "button", onclick: clearFilters }, "Clear filters")
    : state.everything ? null : node("button", { type: "button", className: "button", onclick: searchEverything }, "Search everything");
  const what = state.query.kind === "photo" ? "your photo" : "this listing";
  $("message").replaceChildren(...[
    node("strong", {}, `${where} looks like ${what}`),
    node("p", {}, "The nearest are below."),
    wider && node("div", { className: "row" }, wider)].filter(Boolean));
}

function searchEverything() {
  state.everything = true;
  state.chosen = null;
  run();
}

function showProblem(error) {
  settled();
  $("status").textContent = "";
  $("timing").hidden = true;
  $("grid").replaceChildren();
  $("results-title").textContent = "That did not work";
  $("message").className = "message error";
  $("message").setAttribute("role", "alert");
  $("message").replaceChildren(...problem(error, run));
  $("message").hidden = false;
  if (!(error instanceof Problem) && !(error instanceof TypeError)) console.error(error);
}

function showUnderstood(reply) {
  const opened = new Set(reply.categories.filter((guess) => guess.opened).map((guess) => guess.category));
  const likely = state.guesses.filter((guess) => guess.opened || guess.probability >= 0.01);
  const shown = new Map(likely.map((guess) => [guess.category, guess.probability]));
  for (const category of opened) if (!shown.has(category) && !state.everything) shown.set(category, null);
  const chips = [...shown].map(([category, probability]) =>
    chip(leaf(category), probability === null ? "" : `${Math.round(probability * 100)} %`, !state.everything && opened.has(category), () => toggleCategory(category, opened)));
  for (const [i, category] of [...shown.keys()].entries()) chips[i].title = category;
  const others = Object.keys(state.stock?.categories ?? {}).filter((category) => !shown.has(category));
  if (others.length) chips.push(categoryPicker(others, opened));
  if (Object.keys(state.stock?.categories ?? {}).length > 1) {
    const all = chip("Everything", "", state.everything, () => { state.everything = !state.everything; state.chosen = null; run(); });
    all.title = "Search all categories, also for what only looks like it";
    chips.push(all);
  }
  if (state.chosen) chips.push(node("button", { type: "button", className: "more-values", onclick: () => { state.chosen = null; run(); } }, "as predicted"));
  $("categories").replaceChildren(...chips);
  const aspects = Object.entries(reply.aspects).filter(([, values]) => values.length && values[0].probability >= LIKELY);
  $("predicted").hidden = !aspects.length;
  $("predicted-aspects").replaceChildren(...aspects.map(([name, values]) => {
    const [{ value, probability }] = values;
    const on = state.aspects.get(name)?.has(value) ?? false;
    const button = chip(value, probability < 1 ? `${name} ${Math.round(probability * 100)} %` : name, on, () => toggleAspect(name, value));
    button.title = on ? "Filter is on: only listings with it" : "Show only listings with it";
    return button;
  }));
  $("understood").hidden = false;
}

function categoryPicker(others, opened) {
  const select = node("select", { className: "chip", ariaLabel: "Search in another category" },
    node("option", { value: "" }, "other …"), ...others.map((category) => node("option", { value: category }, category)));
  select.onchange = () => select.value && toggleCategory(select.value, opened);
  return select;
}

async function showDetail(hit) {
  const dialog = $("detail");
  $("detail-photo").src = photoUrl(hit.photo_id, 960);
  $("detail-photo").alt = hit.title || leaf(hit.category);
  $("detail-title").textContent = hit.title || leaf(hit.category);
  $("detail-path").textContent = hit.category.replaceAll("/", " › ");
  $("detail-price").textContent = hit.price === null ? "" : price(hit.price, hit.currency);
  const link = webAddress(hit.url);
  $("detail-link").hidden = link === null;
  if (link) $("detail-link").href = link;
  else $("detail-link").removeAttribute("href");
  $("detail-facts").replaceChildren();
  $("detail-more").onclick = () => { dialog.close(); searchListing(hit); };
  dialog.showModal();
  try {
    $("detail-facts").replaceChildren(...facts(await listing(hit.listing_id)));
  } catch { /* the listing may just have been sold: what the hit said stands */ }
}

async function showStart() {
  settled();
  $("more-hits").hidden = true;
  $("understood").hidden = $("timing").hidden = $("message").hidden = true;
  $("status").textContent = state.stock ? "" : "Loading …";
  $("grid").replaceChildren();
  $("results-title").textContent = "Find it by photo";
  try {
    state.stock ??= await catalogue();
  } catch (error) {
    showProblem(error);
    $("message").querySelector("button").onclick = () => showStart();
    return;
  }
  const { stock } = state;
  $("stock").textContent = `${count(stock.listings)} listings in ${count(Object.keys(stock.categories).length)} categories`;
  showFilters();
  if (state.query) return;
  $("status").textContent = "Give a photo, or start from one of these.";
  $("grid").replaceChildren(...stock.examples.map((entry) => example({ ...entry, listings: stock.categories[entry.category] }, { more: searchListing })));
}

// The catalogue decides what a listing's address is: only one of the web becomes a link.
function webAddress(url) {
  try {
    const found = new URL(url ?? "");
    return /^https?:$/.test(found.protocol) ? found.href : null;
  } catch {
    return null;
  }
}

// --- filters -------------------------------------------------------------------------------------------------

function showFilters() {
  const { stock } = state;
  $("price-filter").hidden = !stock.price;
  if (stock.price) {
    $("price-from").placeholder = String(Math.floor(stock.price.from));
    $("price-to").placeholder = String(Math.ceil(stock.price.to));
  }
  $("colour-slider").hidden = stock.colour === null;
  if (stock.colour !== null && state.colourStep === undefined) {
    state.colourStep = stock.colour > 0 ? Math.round(2 * Math.log2(stock.colour)) / 2 : -1;
    $("colour").value = state.colourStep;
    showColour();
  }
  $("aspect-filters").replaceChildren(...Object.entries(stock.aspects).map(([name, values]) => aspectFilter(name, Object.entries(values))));
  $("filters").hidden = !stock.price && !Object.keys(stock.aspects).length && stock.colour === null;
  countFilters();
}

function aspectFilter(name, values) {
  const chosen = state.aspects.get(name) ?? new Set();
  const group = node("fieldset", {}, node("legend", {}, name.charAt(0).toUpperCase() + name.slice(1)));
  const list = node("div", { className: "chips" });
  const fill = (howMany) => {
    const shown = values.filter(([value], i) => i < howMany || chosen.has(value));
    list.replaceChildren(...shown.map(([value, n]) => chip(value, count(n), chosen.has(value), () => toggleAspect(name, value))));
    if (shown.length < values.length) list.append(node("button", { type: "button", className: "more-values", onclick: () => fill(Infinity) }, `${values.length - shown.length} more`));
  };
  fill(VALUES_AT_FIRST);
  group.append(list);
  return group;
}

function toggleCategory(category, opened) {
  const chosen = new Set(state.chosen ?? (state.everything ? [] : opened));
  state.everything = false;
  if (!chosen.delete(category)) chosen.add(category);
  state.chosen = chosen.size ? chosen : null;
  run();
}

function toggleAspect(name, value) {
  const values = state.aspects.get(name) ?? new Set();
  if (!values.delete(value)) values.add(value);
  if (values.size) state.aspects.set(name, values);
  else state.aspects.delete(name);
  showFilters();
  run();
}

function clearFilters() {
  state.aspects.clear();
  $("price-from").value = $("price-to").value = "";
  showFilters();
  run();
}

// How many times colours count: the slider's steps are powers of two, its lower end none; null: as the shop set it.
function colourAsked() {
  const step = Number($("colour").value);
  if ($("colour-slider").hidden || step === state.colourStep) return null;
  return step < 0 ? 0 : 2 ** step;
}

function showColour() {
  const asked = colourAsked();
  $("colour-value").textContent = asked === null ? "as usual" : asked === 0 ? "not at all" : `${Math.round(asked * 10) / 10} times`;
}

function countFilters() {
  const active = [...state.aspects.values()].reduce((sum, values) => sum + values.size, 0) + ($("price-from").value || $("price-to").value ? 1 : 0);
  $("filter-count").textContent = String(active);
  $("filter-count").hidden = !active;
}

// --- events --------------------------------------------------------------------------------------------------

for (const id of ["file", "camera", "file-again"]) {
  $(id).addEventListener("change", (event) => { searchPhoto(event.target.files[0]); event.target.value = ""; });
}
$("whole").onclick = () => crop.reset();
$("clear").onclick = () => goStart();
$("clear-filters").onclick = clearFilters;
$("more-hits").onclick = () => run({ offset: $("grid").children.length });
$("colour").addEventListener("input", () => { showColour(); later(250); });
$("alpha").addEventListener("input", () => { $("alpha-value").textContent = `${Math.round($("alpha").value * 100)} % looks`; later(250); });
for (const id of ["price-from", "price-to"]) $(id).addEventListener("input", () => { countFilters(); later(450); });
$("detail-close").onclick = () => $("detail").close();
$("detail").addEventListener("click", (event) => { if (event.target === $("detail")) $("detail").close(); });
document.querySelector(".brand").onclick = (event) => { event.preventDefault(); goStart(); };

document.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])][0];
  if (file) { event.preventDefault(); searchPhoto(file); }
});

const carriesFile = (event) => event.dataTransfer?.types.includes("Files");
let depth = 0;
document.addEventListener("dragenter", (event) => { if (carriesFile(event)) { depth++; $("drop-veil").hidden = false; } });
document.addEventListener("dragleave", (event) => { if (carriesFile(event) && --depth <= 0) { depth = 0; $("drop-veil").hidden = true; } });
document.addEventListener("dragover", (event) => { if (carriesFile(event)) event.preventDefault(); });
document.addEventListener("drop", (event) => {
  if (!carriesFile(event)) return;
  event.preventDefault();
  depth = 0;
  $("drop-veil").hidden = true;
  searchPhoto(event.dataTransfer.files[0]);
});

window.addEventListener("popstate", (event) => {
  if (event.state?.entry) searchListing(event.state.entry, { push: false });
  else goStart({ push: false });
});

function goStart({ push = true } = {}) {
  state.running?.abort();
  state.running = state.query = null;
  showQuery();
  if (push && location.hash) history.pushState({}, "", location.pathname);
  showStart();
}

async function start() {
  const wanted = new URLSearchParams(location.hash.slice(1)).get("listing");
  await showStart();
  if (wanted) {
    try { searchListing(await listing(wanted), { push: false }); } catch (error) { showProblem(error); }
  }
}

if (window.matchMedia("(min-width: 861px)").matches) $("filters").open = true;
start();
