// A day or a month in four pictures, what people look for, and how large the store is. Pictures come as SVG, made and
// escaped by charts.py and plot.py.

const $ = (id) => document.getElementById(id);
const EVERY_MS = 60_000;
const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];
const MEANS = { curated: "listings", releases: "models", photos: "photos", index: "index", codes: "codes", deltas: "deltas", checkpoints: "work in progress", extractions: "lists of codes", audit: "audit log", refs: "what is live", traffic: "counts of searches", measures: "quality", events: "clicks" };

let span = "24h";
let timer = 0;

export function bytes(value) {
  let unit = 0;
  for (; value >= 1000 && unit < UNITS.length - 1; unit++) value /= 1000;
  return `${unit && value < 10 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function legend(entries) {
  return element("ul", "legend", ...entries.map(({ name, css, value }) => {
    const item = element("li", "", element("i", css), name);
    if (!css) item.firstChild.remove();
    if (value) item.append(element("b", "", value));
    return item;
  }));
}

function picture({ title, svg, legend: entries, none }) {
  const figure = element("figure", "picture", element("h3", "", title));
  if (svg) {
    const box = element("div", "");
    box.innerHTML = svg;
    figure.append(box, legend(entries));
  } else figure.append(element("p", "empty", none));
  return figure;
}

function category({ name, searches, share, was, moved }) {
  const row = element("tr", "");
  const head = element("th", "", ...name.split("/").flatMap((part, i) => (i ? ["/", document.createElement("wbr"), part] : [part])));
  head.scope = "row";
  const bar = document.createElement("progress");
  bar.value = share;
  bar.setAttribute("aria-hidden", "true");
  const said = moved ? `${moved === "up" ? "▲" : "▼"} from ${Math.round(was * 100)} %` : "";
  row.append(head, element("td", "", bar), element("td", "number", `${Math.round(share * 100)} %`), element("td", "number moved", said));
  row.title = `${searches.toLocaleString("en")} searches`;
  return row;
}

const several = (count, name) => `${count.toLocaleString("en")} ${name}${count === 1 ? "" : "s"}`;
const percent = (share) => `${(share * 100).toFixed(1)} %`;

function place({ rank, shown, rate, from, to }, most) {
  const row = element("tr", "");
  const head = element("th", "", rank === null ? "all places" : `place ${rank}`);
  head.scope = "row";
  const bar = document.createElement("progress");
  bar.max = most;
  bar.value = rate;
  bar.setAttribute("aria-hidden", "true");
  row.append(head, element("td", "", bar), element("td", "number", percent(rate)), element("td", "number moved", `of ${shown.toLocaleString("en")}`));
  row.title = `${percent(from)} to ${percent(to)}, 95 % sure`;
  return row;
}

// Apart from the pictures: events may be many and slow to read, and a shop may have none.
async function refreshClicks(asked) {
  const reply = await fetch(`/api/clicks?span=${asked}`);
  const found = await reply.json();
  if (!reply.ok) throw new Error(found.detail);
  if (asked !== span) return;
  const { ranks, all } = found;
  $("clicks").hidden = !ranks.length && !found.damaged;
  const most = Math.max(...ranks.map(({ rate }) => rate), 0.001);
  $("clicked").replaceChildren(element("table", "bars", ...ranks.map((one) => place(one, most)), ...(ranks.length ? [place({ rank: null, ...all }, most)] : [])));
  const since = `${found.since.slice(0, 16).replace("T", ", ")} UTC`;
  $("clicks-said").textContent = `Share of the hits shown that were clicked, in ${several(found.answers, "answer")} since ${since}.${found.whole ? "" : " Older ones are too many to read here: lookalike evaluate --events has all."}${found.damaged ? ` Left out: ${several(found.damaged, "damaged file")}.` : ""}`;
}

function sizeOf({ complete, bytes: size, objects, parts }) {
  if (!objects) return "Nothing is stored yet.";
  const named = parts.slice(0, 5).map((part) => `${MEANS[part.name] ?? part.name} ${bytes(part.bytes)}`);
  return `${complete ? "" : "at least "}${bytes(size)} in ${several(objects, "object")}: ${named.join(", ")}`;
}

async function refresh() {
  clearTimeout(timer);
  timer = setTimeout(refresh, EVERY_MS);
  if (document.hidden) return;
  const asked = span;
  const clicks = refreshClicks(asked).catch((error) => {
    $("clicks").hidden = false;
    $("clicks-said").textContent = `Clicks cannot be read: ${error.message}`;
  });
  try {
    const reply = await fetch(`/api/trends?span=${asked}`);
    const found = await reply.json();
    if (!reply.ok) throw new Error(found.detail);
    if (asked !== span) return;
    $("pictures").replaceChildren(...found.pictures.map(picture));
    $("sought").replaceChildren(...(found.categories.length ? [element("table", "bars", ...found.categories.map(category))] : [element("p", "empty", "No searches in this time.")]));
    $("size").textContent = sizeOf(found.store);
    $("trends-problem").hidden = true;
  } catch (error) {
    $("trends-problem").hidden = false;
    $("trends-problem").textContent = `The pictures cannot be drawn: ${error.message}`;
  }
  await clicks;
}

export function watchTrends() {
  for (const button of document.querySelectorAll("[data-span]")) {
    button.addEventListener("click", () => {
      span = button.dataset.span;
      for (const other of document.querySelectorAll("[data-span]")) other.ariaPressed = String(other === button);
      refresh();
    });
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  refresh();
}
