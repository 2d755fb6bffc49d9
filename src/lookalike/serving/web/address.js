// What a search is made of, as the fragment of the page's address: back, reload, a new tab and a shared link bring it
// back. The fragment never reaches a server's log.

// Columns of few values that can be filtered by, as the API calls them.
export const LABELS = ["seller", "availability"];

// What a search may look for: a photo by the id under which photos.js keeps it, a listing, a picture by its address, or
// what the server said of somebody's photo (`query_id`), which holds for some minutes.
export const KINDS = ["photo", "listing", "image", "query"];

// Nothing asked yet. `show` the listing whose details are open.
export const nothing = () => ({
  photo: null, listing: null, image: null, query: null, box: null, categories: null, everything: false, aspects: new Map(), labels: new Map(),
  price: ["", ""], text: "", alpha: null, colour: null, sort: "", show: null, compare: null,
});

const pairs = (text) => (text === null ? null : text.split(","));

export function read(fragment) {
  const given = new URLSearchParams(fragment.replace(/^#/, ""));
  const wanted = nothing();
  for (const name of ["show", "alpha", "colour"]) wanted[name] = given.get(name) || null;
  const kind = KINDS.find((name) => given.get(name));
  if (kind) wanted[kind] = given.get(kind);
  wanted.shared = kind === "photo" ? given.get("query") : null; // for a browser that does not have the photo
  for (const name of ["sort", "text"]) wanted[name] = given.get(name) ?? "";
  wanted.everything = given.get("everything") === "true";
  const box = pairs(given.get("box"))?.map(Number);
  if (box?.length === 4 && box.every((part) => part >= 0 && part <= 1)) wanted.box = box;
  const categories = given.getAll("categories");
  if (categories.length) wanted.categories = new Set(categories);
  for (const pair of given.getAll("aspects")) {
    const at = pair.indexOf("=");
    if (at < 1) continue;
    const name = pair.slice(0, at);
    wanted.aspects.set(name, (wanted.aspects.get(name) ?? new Set()).add(pair.slice(at + 1)));
  }
  for (const name of LABELS) if (given.has(name)) wanted.labels.set(name, new Set(given.getAll(name)));
  const ends = (given.get("price") ?? "..").split("..");
  if (ends.length === 2 && ends.every((end) => end === "" || Number.isFinite(Number(end)))) wanted.price = ends;
  const compared = pairs(given.get("compare"));
  if (compared?.length === 2) wanted.compare = compared.map(decodeURIComponent);
  return wanted;
}

const short = (part) => String(Math.round(part * 1e4) / 1e4);

// The parameters of one search, which the API takes as they are but for `photo` and `listing`.
export function parameters(wanted) {
  const given = new URLSearchParams();
  if (wanted.box) given.set("box", wanted.box.map(short).join(","));
  if (wanted.everything) given.set("everything", "true");
  for (const category of wanted.categories ?? []) given.append("categories", category);
  for (const [name, values] of wanted.aspects) for (const value of values) given.append("aspects", `${name}=${value}`);
  for (const [name, values] of wanted.labels) for (const value of values) given.append(name, value);
  const [low, high] = wanted.price;
  if (low !== "" || high !== "") given.set("price", `${low}..${high}`);
  for (const name of ["colour", "sort", "text"]) if (wanted[name]) given.set(name, wanted[name]);
  if (wanted.alpha) given.set("alpha", wanted.alpha);
  return given;
}

// What tells one search from another, without what is open above it.
export function searchKey(wanted) {
  const given = parameters(wanted);
  for (const kind of KINDS) if (wanted[kind]) given.set(kind, wanted[kind]);
  return given.toString();
}

// `shared` is a query_id that goes with the address of a photo, for other browsers.
export function write(wanted, shared = null) {
  const given = new URLSearchParams(searchKey(wanted));
  if (shared) given.set("query", shared);
  if (wanted.show) given.set("show", wanted.show);
  if (wanted.compare) given.set("compare", wanted.compare.map(encodeURIComponent).join(","));
  const text = given.toString();
  return text ? `#${text}` : location.pathname;
}
