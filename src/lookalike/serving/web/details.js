// Dialogs above the results: one listing with all its photos, two side by side, and the sheet of filters on a phone.

import { listing, photoUrl } from "./api.js";
import { categoryPath, price, titleOf, webAddress } from "./names.js";
import { descriptions, facts, likeness, node } from "./view.js";

const $ = (id) => document.getElementById(id);

function showPhoto(photoId, alt) {
  $("detail-photo").src = photoUrl(photoId, 960);
  $("detail-photo").alt = alt;
  for (const thumb of $("detail-photos").children) thumb.ariaCurrent = String(thumb.dataset.photo === photoId);
}

function shopLink(url) {
  const address = webAddress(url);
  return address && node("a", { className: "button", href: address, target: "_blank", rel: "noopener noreferrer" }, "See it at the shop");
}

// One listing: `entry` is the hit it was found as, or else what the catalogue says of it. It is complete when all is known.
export async function showDetail(entry, { more, share }) {
  const dialog = $("detail");
  const title = titleOf(entry);
  $("detail-photos").replaceChildren();
  showPhoto(entry.photo_id, title);
  $("detail-title").textContent = title;
  $("detail-path").textContent = categoryPath(entry.category);
  $("detail-price").textContent = entry.price === null ? "" : price(entry.price, entry.currency);
  $("detail-alike").textContent = "alike" in entry ? likeness(entry) : "";
  const link = shopLink(entry.url);
  $("detail-link").hidden = !link;
  if (link) $("detail-link").href = link.href;
  else $("detail-link").removeAttribute("href");
  $("detail-facts").replaceChildren();
  $("detail-more").onclick = () => more(entry);
  $("detail-share").onclick = () => share(title);
  if (!dialog.open) dialog.showModal();
  try {
    const known = await listing(entry.listing_id);
    if ($("detail-title").textContent !== title) return; // another one was opened meanwhile
    $("detail-facts").replaceChildren(...descriptions([...facts(known), ["Listing", known.listing_id]]));
    if (known.photos.length < 2) return;
    $("detail-photos").replaceChildren(...known.photos.map((photoId, i) => {
      const image = node("img", { src: photoUrl(photoId, 96), alt: "", width: 64, height: 64 });
      return node("button", { type: "button", "data-photo": photoId, ariaLabel: `Photo ${i + 1} of ${known.photos.length}`, onclick: () => showPhoto(photoId, title) }, image);
    }));
    showPhoto(entry.photo_id, title);
  } catch { /* the listing may just have been sold: what the hit said stands */ }
}

// Two listings side by side; what they state differently is marked.
export async function showComparison(entries, { more, isCurrent }) {
  const dialog = $("comparison");
  const known = await Promise.all(entries.map((entry) => listing(entry.listing_id).catch(() => entry)));
  if (!isCurrent()) return;
  const stated = known.map((one) => Object.fromEntries("aspects" in one ? facts(one) : []));
  const names = [...new Set(stated.flatMap(Object.keys))];
  const differ = (name) => stated[0][name] !== stated[1][name];
  const row = (name, values, className = "") => node("tr", { className }, node("th", { scope: "row" }, name), ...values.map((value) => node("td", {}, value)));
  const merged = known.map((one, i) => ({ ...one, ...entries[i] }));
  const body = [
    row("Price", merged.map((one) => (one.price === null ? "–" : price(one.price, one.currency)))),
    row("Category", merged.map((one) => categoryPath(one.category))),
    ...names.map((name) => row(name, stated.map((facts) => facts[name] ?? "–"), differ(name) ? "differs" : "")),
  ];
  if (merged.some((one) => one.alike)) body.splice(1, 0, row("Likeness", merged.map((one) => (one.alike ? likeness(one) : "–"))));
  const column = (one) => node("th", { scope: "col" },
    node("img", { src: photoUrl(one.photo_id, 480), alt: titleOf(one) }), node("span", { className: "name" }, titleOf(one)),
    node("div", { className: "row" }, node("button", { type: "button", className: "button", onclick: () => more(one) }, "More like this"), shopLink(one.url)));
  $("comparison-table").replaceChildren(node("thead", {}, node("tr", {}, node("td"), ...merged.map(column))), node("tbody", {}, ...body));
  if (!dialog.open) dialog.showModal();
}

// A link to what is shown: by the device's own way of sharing, or else copied. What happened, in words.
export async function shareLink(address, title) {
  if (navigator.share && window.matchMedia("(pointer: coarse)").matches) {
    try {
      await navigator.share({ title, url: address });
      return "";
    } catch (error) {
      if (error.name === "AbortError") return "";
    }
  }
  try {
    await navigator.clipboard.writeText(address);
    return "Link copied";
  } catch { // no clipboard: a page without https, or one that may not
    return `The link is ${address}`;
  }
}
