// What the page shows, as elements. No state here: each function turns data into nodes.

import { photoUrl } from "./api.js";

export function node(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const leaf = (category) => {
  const name = category.slice(category.lastIndexOf("/") + 1).replaceAll(/[-_]/g, " ");
  return name.charAt(0).toUpperCase() + name.slice(1);
};

const number = new Intl.NumberFormat();
const money = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
export const count = (value) => number.format(value);

// An amount in its currency as this browser's language writes it; without one, the number alone.
export function price(value, currency) {
  try {
    return currency ? new Intl.NumberFormat(undefined, { style: "currency", currency }).format(value) : money.format(value);
  } catch { // not a currency's code: the shop's own words stand
    return `${money.format(value)} ${currency}`;
  }
}


export function chip(label, detail, pressed, onToggle) {
  return node("button", { type: "button", className: "chip", ariaPressed: String(pressed), onclick: onToggle }, label, detail ? node("small", {}, detail) : null);
}

function picture(photoId, alt) {
  const image = node("img", { alt, loading: "lazy", decoding: "async", width: 240, height: 240, onload: () => image.classList.add("loaded") });
  image.src = photoUrl(photoId, 480);
  return image;
}

export function card(hit, bits, actions) {
  const title = hit.title || leaf(hit.category);
  const tags = Object.entries(hit.matched_aspects).map(([name, value]) => node("span", { className: "tag", title: `${name}: ${value}` }, value));
  return node("li", { className: "card", "data-listing": hit.listing_id },
    node("button", { type: "button", className: "photo", ariaLabel: `Details of ${title}`, onclick: () => actions.open(hit) },
      picture(hit.photo_id, title),
      node("span", { className: "score", title: "Score among these hits: appearance and aspects together" }, hit.score.toFixed(2))),
    node("div", { className: "text" },
      node("h3", {}, title),
      node("p", { className: "facts" },
        node("strong", {}, hit.price === null ? "" : price(hit.price, hit.currency)),
        likeness(hit)),
      tags.length ? node("div", { className: "tags" }, ...tags) : null,
      node("button", { type: "button", className: "more", ariaLabel: `More like ${title}`, onclick: () => actions.more(hit) }, "More like this")));
}

// How alike a hit is, in words; what they stand for is in the title. Of what is shown, nothing is called unlike: it was chosen.
function likeness(hit) {
  const distance = `distance ${count(hit.distance)}`;
  if (hit.alike === null) return node("span", { className: "distance", title: "Hamming distance: bits in which the two codes differ" }, distance);
  const share = `${hit.alike}: ${Math.round(hit.likeness * 100)} % of this shop's own photos have nothing nearer`;
  return node("span", { className: "distance", title: `${share}; ${distance} bits` }, hit.beyond ? "another kind" : hit.alike === "not alike" ? "less alike" : hit.alike);
}

export function example(entry, actions) {
  return node("li", { className: "card example", "data-listing": entry.listing_id },
    node("button", { type: "button", className: "photo", ariaLabel: `Search for listings like ${entry.title || leaf(entry.category)}`, onclick: () => actions.more(entry) },
      picture(entry.photo_id, entry.title || leaf(entry.category))),
    node("div", { className: "text" }, node("h3", {}, leaf(entry.category)), node("p", { className: "facts" }, `${count(entry.listings)} listings`)));
}

export function skeletons(howMany) {
  return Array.from({ length: howMany }, () => node("li", { className: "card skeleton", ariaHidden: "true" },
    node("div", { className: "photo" }), node("div", { className: "text" }, node("div", { className: "line" }), node("div", { className: "line" }))));
}

const STAGES = ["receive", "decode", "wait", "encode", "aspects", "scan", "rank"];

export function timing(reply, roundTrip) {
  const times = reply.milliseconds;
  const ms = (value) => (value < 10 ? value.toFixed(1) : Math.round(value));
  const shown = STAGES.filter((stage) => times[stage] > 0.05);
  const bar = node("div", { className: "bar", ariaHidden: "true" }, ...shown.map((stage) => {
    const part = node("span", { className: `s-${stage}`, title: `${stage} ${ms(times[stage])} ms` });
    part.style.flexGrow = String(times[stage]);
    return part;
  }));
  const legend = node("div", { className: "legend" },
    node("span", {}, `${ms(times.total)} ms in the server, ${ms(roundTrip)} ms in all`),
    ...shown.map((stage) => node("span", {}, node("i", { className: `s-${stage}` }), `${stage} ${ms(times[stage])}`)),
    node("span", { title: `${reply.index}\n${reply.release}` }, `index ${reply.index.slice(6, 14)}`));
  return [bar, legend];
}

export function problem(error, retry) {
  const known = {
    "photo-type": ["This file is not a photo", "Use a picture: JPEG, PNG, WebP, AVIF, HEIC, GIF, BMP or TIFF."],
    "photo-truncated": ["The photo is incomplete", "The file ends too early. Save or send it again."],
    "photo-damaged": ["The photo is damaged", "It cannot be decoded. Try another one."],
    "photo-empty": ["The file is empty", "Try another photo."],
    "photo-bytes": ["The photo is too large", "Use a smaller file."],
    "photo-pixels": ["The photo is too large", "Use one with fewer pixels."],
    "photo-effort": ["The photo takes too much to open", "Use an ordinary JPEG, or one with fewer pixels."],
    "busy": ["The service is busy", "It is starting, or many are searching. Try again in a moment."],
  }[error.type?.split(":").at(-1)];
  const offline = error instanceof TypeError;
  const [title, advice] = offline
    ? ["The search service cannot be reached", "Check the connection, then try again."]
    : known ?? [error.title || "The search failed", error.message];
  return [
    node("strong", {}, title),
    node("p", {}, advice),
    known && error.message ? node("p", { className: "hint" }, error.message) : null,
    node("div", { className: "row" }, node("button", { type: "button", className: "button", onclick: retry }, "Try again")),
    error.requestId ? node("p", { className: "id" }, `request ${error.requestId}`) : null,
  ].filter(Boolean);
}

export function facts(listing) {
  return Object.entries(listing.aspects).flatMap(([name, values]) => [node("dt", {}, name), node("dd", {}, values.join(", "))])
    .concat([node("dt", {}, "listing"), node("dd", {}, listing.listing_id)]);
}
