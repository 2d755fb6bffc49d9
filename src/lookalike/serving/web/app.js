// The search page: what is wanted, and what changes it. The address holds all of it (address.js), so back, reload and
// links work. Rendering is in view.js, dialogs in details.js, filters in filters.js, the crop box in crop.js.

import { KINDS, read, nothing, searchKey, write } from "./address.js";
import { Problem, catalogue, listing, search } from "./api.js";
import { CropBox } from "./crop.js";
import { showFound } from "./found.js";
import { shareLink, showComparison, showDetail } from "./details.js";
import { clicked, watchHits } from "./events.js";
import { Filters } from "./filters.js";
import { leave, visit } from "./history.js";
import { categoryName, count, learnCategories, titleOf } from "./names.js";
import { keep, recall, shrink } from "./photos.js";
import { enlarge, showQuery } from "./query.js";
import { given, watchTransfers } from "./transfers.js";
import { toolbar } from "./toolbars.js";
import { showUnderstood } from "./understood.js";
import { button, card, example, node, problem, skeletons, timing } from "./view.js";

const K = 24;
const LAST = 1000; // the last place that the API answers
const NAMED = 4; // categories that the invitation names
const ANSWERS_KEPT = 20;
const $ = (id) => document.getElementById(id);

const state = {
  wanted: nothing(),
  query: null, // {kind: "photo", id, blob, url} or {kind: "listing", id, photoId, title}
  guesses: new Map(), // query's id -> categories as a reply without a choice of categories gave them
  answers: new Map(), // searchKey -> {replies, roundTrip, scroll}: what Back shows again
  shown: null, // searchKey of what is shown
  stock: null, // /v1/catalogue
  running: null, // AbortController
  timer: 0,
  sheet: false, // whether the sheet of filters is an entry of the history
  picked: null, // the listing that another one is to be compared with
};

const crop = new CropBox($("crop"), () => { state.wanted.box = crop.value; $("whole").hidden = !crop.value; changed("box", 200); });
const filters = new Filters(() => state.wanted, changed);

// --- address and history -------------------------------------------------------------------------------------

// Something of `wanted` changed: into the address, and search. `kind` names what changes bit by bit.
function changed(kind = null, milliseconds = 0) {
  clearTimeout(state.timer);
  const go = () => { remember(); visit(write(state.wanted), { kind }); run(); };
  if (milliseconds) state.timer = setTimeout(go, milliseconds);
  else go();
}

function remember() {
  const answer = state.answers.get(state.shown);
  if (answer) answer.scroll = window.scrollY;
}

history.scrollRestoration = "manual";
window.addEventListener("popstate", () => {
  remember();
  clearTimeout(state.timer);
  if (state.sheet) { // what was chosen in the sheet stays, as a step of its own
    state.sheet = false;
    $("sheet").close();
    if (searchKey(read(location.hash)) !== searchKey(state.wanted)) history.pushState({}, "", write(state.wanted));
    return;
  }
  apply(read(location.hash));
});

// Bring the page in line with an address.
async function apply(wanted) {
  state.wanted = wanted;
  filters.show();
  $("sort").value = wanted.sort;
  const id = idOf(wanted);
  if (id === null) {
    forget();
    await showStart();
  } else if (state.query?.id !== id) {
    state.running?.abort();
    const query = await resolve(wanted);
    if (state.wanted !== wanted) return;
    if (!query) return;
    setQuery(query);
  }
  crop.set(wanted.box);
  $("whole").hidden = !crop.value;
  if (id !== null && state.shown !== searchKey(wanted)) {
    const known = state.answers.get(searchKey(wanted));
    if (known) {
      state.running?.abort();
      showAnswer(known);
      window.scrollTo(0, known.scroll);
    } else await run();
  }
  openWanted();
}

const idOf = (wanted) => KINDS.map((kind) => wanted[kind]).find(Boolean) ?? null;

async function resolve(wanted) {
  try {
    if (wanted.image || wanted.query) return { kind: wanted.image ? "image" : "query", id: idOf(wanted) };
    if (wanted.listing) {
      const entry = await listing(wanted.listing);
      return { kind: "listing", id: wanted.listing, photoId: entry.photo_id, title: titleOf(entry) };
    }
    const blob = await recall(wanted.photo);
    if (blob) return photoQuery(wanted.photo, blob);
    if (wanted.shared) {
      Object.assign(wanted, { photo: null, query: wanted.shared, box: null });
      visit(write(wanted), { replace: true });
      return { kind: "query", id: wanted.query };
    }
    forget();
    await showStart();
    say("This photo is not here", "A photo is kept for a day, in the browser that it was given to. Give it again.");
  } catch (error) {
    forget();
    showProblem(error);
  }
  return null;
}

const photoQuery = (id, blob) => ({ kind: "photo", id, blob, url: URL.createObjectURL(blob) });

// --- searching -----------------------------------------------------------------------------------------------

async function run({ offset = 0 } = {}) {
  clearTimeout(state.timer);
  if (!state.query) return;
  state.running?.abort();
  const mine = (state.running = new AbortController());
  const key = searchKey(state.wanted);
  if (!offset) showBusy();
  const started = performance.now();
  try {
    const reply = await search(state.query, state.wanted, { k: K, offset }, mine.signal);
    if (mine !== state.running) return;
    if (!offset) {
      const answer = { replies: [reply], roundTrip: performance.now() - started, scroll: 0 };
      state.answers.delete(key);
      state.answers.set(key, answer);
      if (state.answers.size > ANSWERS_KEPT) state.answers.delete(state.answers.keys().next().value);
      if (!state.wanted.categories && !state.wanted.everything) state.guesses.set(state.query.id, reply.categories);
      state.shown = key;
      showAnswer(answer);
    } else {
      state.answers.get(key)?.replies.push(reply);
      showMore(reply);
    }
  } catch (error) {
    if (error.name !== "AbortError" && mine === state.running) showProblem(error);
  }
}

async function searchPhoto(file) {
  if (!file) return;
  const blob = await shrink(file);
  begin(photoQuery(await keep(blob), blob));
}

function searchListing(entry) {
  const away = $("grid").contains(document.activeElement) || document.activeElement?.closest("dialog");
  closeDialogs();
  begin({ kind: "listing", id: entry.listing_id, photoId: entry.photo_id, title: titleOf(entry) });
  window.scrollTo({ top: 0 });
  if (away) $("results").focus({ preventScroll: true }); // the card that was pressed is gone
}

// Another query: filters stay, what belonged to the query before does not.
function begin(query) {
  remember();
  const { aspects, labels, price, alpha, colour, sort } = state.wanted;
  state.wanted = { ...nothing(), aspects, labels, price, alpha, colour, sort, [query.kind]: query.id };
  visit(write(state.wanted));
  setQuery(query);
  run();
}

function setQuery(query) {
  if (state.query?.url) URL.revokeObjectURL(state.query.url);
  state.query = query;
  state.shown = null;
  $("understood").hidden = $("timing").hidden = true;
  crop.set(null);
  showFound($("crop"), null);
  showQuery(query, crop);
}

function forget() {
  state.running?.abort();
  state.running = state.shown = null;
  setQuery(null);
  filters.learnFacets(null);
  filters.learnText(null);
}

function goStart() {
  remember();
  const { aspects, labels, price, alpha, colour, sort } = state.wanted;
  state.wanted = { ...nothing(), aspects, labels, price, alpha, colour, sort };
  visit(write(state.wanted));
  forget();
  showStart();
}

// --- showing -------------------------------------------------------------------------------------------------

function showBusy() {
  $("more-hits").hidden = true;
  $("status").textContent = "Searching …";
  $("message").hidden = true;
  $("results").setAttribute("aria-busy", "true");
  const grid = $("grid");
  if (grid.querySelector("[data-listing]:not(.example)")) grid.classList.add("stale");
  else grid.replaceChildren(...skeletons(8));
  nameResults();
}

function nameResults() {
  const listed = state.query.kind === "listing";
  $("results-title").textContent = listed ? "More like this" : `Listings that look like ${state.query.kind === "photo" ? "your" : "the"} photo`;
  document.title = listed ? `Like ${state.query.title} · Lookalike` : "Look-alikes of a photo · Lookalike";
  $("share").hidden = false;
  $("sort").hidden = !state.stock?.price;
}

function settled() {
  $("results").removeAttribute("aria-busy");
  $("grid").classList.remove("stale");
}

const entries = new Map(); // listing id -> the hit it was shown as

const actions = {
  open: (hit) => { clicked(hit.listing_id); state.wanted.show = hit.listing_id; visit(write(state.wanted), { opened: true }); openWanted(); },
  more: (hit) => { clicked(hit.listing_id); searchListing(hit); },
  compare: pick,
  compared: (hit) => state.picked?.listing_id === hit.listing_id,
};

function cards(reply, page) {
  const made = reply.hits.map((hit) => { entries.set(hit.listing_id, hit); return card(hit, actions); });
  watchHits(made, reply, K * page);
  return made;
}

function showAnswer({ replies, roundTrip }) {
  const [reply] = replies;
  state.shown = searchKey(state.wanted);
  settled();
  nameResults();
  const all = Object.keys(state.stock?.categories ?? {});
  filters.learnFacets(reply.facets ?? null);
  filters.learnText(reply.text ?? null);
  showUnderstood(reply, { asked: () => state.wanted, guesses: state.guesses.get(state.query.id) ?? [], all, filters, changed });
  const query = state.query;
  if (query.kind === "photo" && reply.boxes.length) query.found = reply; // a reply to its query_id has none
  showFound($("crop"), query.found, state.wanted.box, (box) => { crop.set(box); state.wanted.box = [...box]; changed(); });
  $("whole").hidden = !(crop.value || (query.found?.box && !state.wanted.box));
  $("timing").replaceChildren(...timing(reply, roundTrip));
  $("timing").hidden = false;
  $("grid").replaceChildren(...replies.flatMap(cards));
  const searched = reply.categories.filter((guess) => guess.opened).length;
  $("status").textContent = `${reply.hits.length} hits among ${count(reply.scanned)} listings in ${state.wanted.everything ? "all categories" : searched === 1 ? "1 category" : `${searched} categories`}`;
  $("sheet-done").textContent = reply.hits.length === 1 ? "Show the hit" : reply.hits.length ? "Show the hits" : "No hits";
  offerMore(replies.at(-1));
  const empty = reply.hits.length === 0;
  $("message").hidden = true;
  if (empty) say("Nothing passes these filters", "Take some away, or search in more categories.", filters.count() ? button("Clear filters", () => filters.clear()) : null);
  else if (reply.nothing_alike) showNothingAlike();
}

function showMore(reply) {
  const next = cards(reply, state.answers.get(state.shown).replies.indexOf(reply));
  $("grid").append(...next);
  offerMore(reply);
  $("status").textContent = next.length ? `${$("grid").children.length} hits shown` : "There are no more";
  next[0]?.querySelector("button").focus();
}

function offerMore(reply) {
  const shown = $("grid").children.length;
  $("more-hits").hidden = reply.hits.length < K || shown + K > LAST;
}

// Said above the hits, which stay.
function say(title, text, action = null) {
  $("message").className = "message";
  $("message").removeAttribute("role");
  $("message").replaceChildren(node("strong", {}, title), node("p", {}, text), ...(action ? [node("div", { className: "row" }, action)] : []));
  $("message").hidden = false;
}

function showNothingAlike() {
  const filtered = filters.count() > 0;
  const where = filtered || state.wanted.categories ? "Nothing among these listings" : "Nothing in this shop";
  const wider = filtered ? button("Clear filters", () => filters.clear())
    : state.wanted.everything ? null : button("Search everything", () => { Object.assign(state.wanted, { everything: true, categories: null }); changed(); });
  say(`${where} looks like ${{ photo: "your photo", listing: "this listing" }[state.query.kind] ?? "the photo"}`, "The nearest are below.", wider);
}

function showProblem(error) {
  settled();
  state.shown = null;
  $("status").textContent = "";
  $("timing").hidden = $("more-hits").hidden = $("share").hidden = $("sort").hidden = true;
  $("grid").replaceChildren();
  $("results-title").textContent = "That did not work";
  if (error.type?.includes(":photo-")) $("unreadable").textContent = "No picture in this file";
  $("message").className = "message error";
  $("message").setAttribute("role", "alert");
  $("message").replaceChildren(...problem(error, () => apply(read(location.hash))));
  $("message").hidden = false;
  if (!(error instanceof Problem) && !(error instanceof TypeError)) console.error(error);
}

async function showStart() {
  settled();
  $("more-hits").hidden = $("share").hidden = $("sort").hidden = true;
  $("understood").hidden = $("timing").hidden = $("message").hidden = true;
  $("status").textContent = state.stock ? "" : "Loading …";
  $("grid").replaceChildren();
  $("results-title").textContent = "Find it by photo";
  document.title = "Lookalike · photo search";
  if (!(await stocked()) || state.query) return;
  const { stock } = state;
  $("status").textContent = `Give a photo, or start from one of these. ${known(Object.keys(stock.categories))}`;
  $("grid").replaceChildren(...stock.examples.map((entry) => example({ ...entry, listings: stock.categories[entry.category] }, { more: searchListing })));
}

// What a photo may show, so that nobody is surprised at the answer to one of something else.
function known(categories) {
  const names = categories.map(categoryName);
  const few = names.length <= NAMED ? names : names.slice(0, NAMED);
  const rest = names.length - few.length;
  return `This shop knows ${few.join(", ").toLowerCase()}${rest ? ` and ${count(rest)} more` : ""}. Of anything else it shows the nearest, and says so.`;
}

// What the catalogue holds, asked once; false where it cannot be had.
async function stocked() {
  if (state.stock) return true;
  try {
    state.stock = await catalogue();
  } catch (error) {
    showProblem(error);
    return false;
  }
  const categories = Object.keys(state.stock.categories);
  learnCategories(categories);
  $("stock").textContent = `${count(state.stock.listings)} listings in ${count(categories.length)} categories`;
  filters.learn(state.stock);
  return true;
}

// --- dialogs -------------------------------------------------------------------------------------------------

// Open what the address wants open, and close the rest.
async function openWanted() {
  const { show, compare } = state.wanted;
  if (!show && $("detail").open) $("detail").close();
  if (!compare && $("comparison").open) $("comparison").close();
  try {
    if (compare) {
      const two = await Promise.all(compare.map(async (id) => entries.get(id) ?? listing(id)));
      showComparison(two, { more: searchListing, isCurrent: () => state.wanted.compare === compare });
    }
    const entry = show && (entries.get(show) ?? (await listing(show)));
    if (show && state.wanted.show === show) showDetail(entry, { more: searchListing, share: (title) => share(title, "detail-said") });
  } catch (error) {
    showProblem(error);
  }
}

function closeDialogs() {
  state.wanted.show = state.wanted.compare = null;
  for (const id of ["detail", "comparison", "sheet"]) if ($(id).open) $(id).close();
}

for (const [id, name] of [["detail", "show"], ["comparison", "compare"]]) {
  $(id).addEventListener("close", () => {
    if (!state.wanted[name]) return; // Back closed it
    state.wanted[name] = null;
    leave(write(state.wanted));
  });
}
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => { if (event.target === dialog || event.target.closest("[data-close]")) dialog.close(); });
}

// The first of two to compare, or the second.
function pick(hit) {
  const first = state.picked;
  state.picked = first?.listing_id === hit.listing_id || first ? null : hit;
  if (first && first.listing_id !== hit.listing_id) {
    state.wanted.compare = [first.listing_id, hit.listing_id];
    visit(write(state.wanted), { opened: true });
    openWanted();
  }
  $("pick").hidden = !state.picked;
  $("pick-name").textContent = state.picked ? titleOf(state.picked) : "";
  for (const one of $("grid").children) {
    const toggle = one.querySelector(".compare");
    if (toggle) toggle.ariaPressed = String(state.picked?.listing_id === one.dataset.listing);
  }
}

// A photo stays in this browser; its link has what the server said of it, which holds for some minutes.
async function share(title, place) {
  const shared = state.query?.kind === "photo" ? state.query.ids?.get(String(state.wanted.box ?? "")) : null;
  const said = await shareLink(new URL(write(state.wanted, shared), location.href).href, title);
  $(place).textContent = said && shared ? `${said}; it holds for some minutes` : said;
  setTimeout(() => { $(place).textContent = ""; }, 6000);
}

function openSheet() {
  if (state.sheet) return;
  state.sheet = true;
  history.pushState({ sheet: true, opened: true }, "", write(state.wanted));
  $("sheet").showModal();
}

$("sheet").addEventListener("close", () => { if (history.state?.sheet) history.back(); });

const wide = window.matchMedia("(min-width: 861px)");
function placeFilters() {
  if (wide.matches && $("sheet").open) $("sheet").close();
  (wide.matches ? $("filters-place") : $("sheet-place")).append($("filters"));
}
wide.addEventListener("change", placeFilters);

// --- events --------------------------------------------------------------------------------------------------

for (const id of ["file", "camera", "file-again"]) {
  $(id).addEventListener("change", (event) => { searchPhoto(event.target.files[0]); event.target.value = ""; });
}
// The whole photo, said as a box: without one a cluttered photo is searched by its parts, too.
$("whole").onclick = () => { crop.set(null); state.wanted.box = [0, 0, 1, 1]; $("whole").hidden = true; changed(); };
$("enlarge").onclick = () => enlarge(!$("preview").classList.contains("large"));
$("clear").onclick = goStart;
$("more-hits").onclick = () => run({ offset: $("grid").children.length });
$("share").onclick = () => share(document.title, "share-said");
$("sort").onchange = () => { state.wanted.sort = $("sort").value; changed(); };
$("open-sheet").onclick = openSheet;
$("pick-cancel").onclick = () => pick(state.picked);
document.querySelector(".brand").onclick = (event) => { event.preventDefault(); goStart(); };

const NUMBERS = "lookalike.numbers";
function showNumbers(on) {
  document.body.classList.toggle("with-numbers", on);
  $("numbers").checked = on;
  try { localStorage.setItem(NUMBERS, on ? "1" : ""); } catch { /* not remembered, then */ }
}
$("numbers").onchange = () => showNumbers($("numbers").checked);
try { showNumbers(localStorage.getItem(NUMBERS) === "1"); } catch { /* as the page stands */ }

watchTransfers($("drop-veil"), async (transfer) => {
  const photo = await given(transfer);
  if (photo) searchPhoto(photo);
  else if (/^https?:/.test(transfer.address)) begin({ kind: "image", id: transfer.address });
  else say("No photo in that", "Paste or drop a picture, or save it first and choose the file.");
});

toolbar($("categories"), "Categories to search; arrow keys move");
toolbar($("predicted-aspects"), "What the photo shows; arrow keys move");
toolbar($("photo-actions"), "Your photo; arrow keys move");
placeFilters();
if (history.state?.sheet) history.replaceState({}, "", location.href);
const first = read(location.hash);
if (idOf(first)) await stocked();
apply(first);
