// What the page shows, as elements. No state here: each function turns data into nodes.

import { photoUrl } from "./api.js";
import { aspectName, categoryName, count, price, titleOf } from "./names.js";

export function node(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// `key` names the chip, so that focus finds it again when the page is redrawn.
export function chip(label, detail, pressed, key, onToggle) {
  return node("button", { type: "button", className: "chip", ariaPressed: String(pressed), "data-key": key, onclick: onToggle },
    node("span", {}, label), detail ? node("small", {}, detail) : null);
}

export function picture(photoId, alt) {
  const image = node("img", { alt, loading: "lazy", decoding: "async", width: 240, height: 240, onload: () => image.classList.add("loaded") });
  image.src = photoUrl(photoId, 480);
  return image;
}

const COMPARE = "M4 6h6v12H4zM14 6h6v12h-6z"; // two side by side

function drawing(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

export function card(hit, actions) {
  const title = titleOf(hit);
  const tags = Object.entries(hit.matched_aspects).map(([name, value]) => node("span", { className: "tag", title: `${name}: ${value}` }, value));
  return node("li", { className: "card", "data-listing": hit.listing_id },
    node("button", { type: "button", className: "photo", ariaLabel: `Details of ${title}`, onclick: () => actions.open(hit) },
      picture(hit.photo_id, title),
      node("span", { className: "score numbers", title: "Score among these hits: appearance and aspects together" }, hit.score.toFixed(2))),
    node("button", { type: "button", className: "compare", ariaPressed: String(actions.compared(hit)), ariaLabel: `Compare ${title}`, title: "Compare with another", onclick: () => actions.compare(hit) }, drawing(COMPARE)),
    node("div", { className: "text" },
      node("h2", {}, title),
      node("p", { className: "facts" },
        node("strong", {}, hit.price === null ? "" : price(hit.price, hit.currency)),
        node("span", { className: "distance" }, likeness(hit))),
      hit.seller ? node("p", { className: "seller" }, hit.seller) : null,
      tags.length ? node("div", { className: "tags" }, ...tags) : null,
      node("p", { className: "numbers" }, numbers(hit)),
      node("button", { type: "button", className: "more", ariaLabel: `More like ${title}`, onclick: () => actions.more(hit) }, "More like this")));
}

// How alike a hit is, in words. Of what is shown, nothing is called unlike: it was chosen.
export function likeness(hit) {
  if (hit.alike === null) return "";
  return hit.beyond ? "another kind" : hit.alike === "not alike" ? "less alike" : hit.alike;
}

function numbers(hit) {
  const share = hit.likeness === null ? "" : `, likeness ${Math.round(hit.likeness * 100)} %`;
  return `distance ${count(hit.distance)} bits${share}`;
}

export function example(entry, actions) {
  const name = categoryName(entry.category);
  return node("li", { className: "card example", "data-listing": entry.listing_id },
    node("button", { type: "button", className: "photo", ariaLabel: `Search for listings like ${entry.title || name}`, onclick: () => actions.more(entry) },
      picture(entry.photo_id, entry.title || name)),
    node("div", { className: "text" }, node("h2", {}, name), node("p", { className: "facts" }, `${count(entry.listings)} listings`)));
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

export function button(label, onclick, className = "button") {
  return node("button", { type: "button", className, onclick }, label);
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
    "rate": ["That was too fast", "Wait a moment, then try again."],
    "query-expired": ["This link has expired", "A link to a photo holds for some minutes. Choose the photo again."],
    "not-found": ["This listing is not here", "It may have been sold or taken off. Try another one."],
  }[error.type?.split(":").at(-1)];
  if (/^image_url: /.test(error.message)) return [
    node("strong", {}, "This picture cannot be fetched from there"),
    node("p", {}, "Save it on your device, then choose the file."),
    node("p", { className: "hint" }, error.message)];
  const offline = error instanceof TypeError;
  const [title, advice] = offline
    ? ["The search service cannot be reached", "Check the connection, then try again."]
    : known ?? [error.title || "The search failed", error.message];
  return [
    node("strong", {}, title),
    node("p", {}, advice),
    known && error.message ? node("p", { className: "hint" }, error.message) : null,
    node("div", { className: "row" }, button("Try again", retry)),
    error.requestId ? node("p", { className: "id" }, `request ${error.requestId}`) : null,
  ].filter(Boolean);
}

// What a listing states, as terms and descriptions.
export function facts(listing) {
  const stated = Object.entries(listing.aspects).map(([name, values]) => [aspectName(name), values.join(", ")]);
  if (listing.seller) stated.push(["Seller", listing.seller]);
  if (listing.availability) stated.push(["Availability", listing.availability.replaceAll(/[-_]/g, " ")]);
  return stated;
}

export const descriptions = (pairs) => pairs.flatMap(([name, value]) => [node("dt", {}, name), node("dd", {}, value)]);
