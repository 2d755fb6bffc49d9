// The panel of the query: its photo, and what can be done with it.

import { photoUrl } from "./api.js";

const $ = (id) => document.getElementById(id);

// Show a query, or none.
export function showQuery(query, crop) {
  enlarge(false);
  $("drop").hidden = Boolean(query);
  $("preview").hidden = !query;
  document.body.classList.toggle("asked", Boolean(query));
  if (!query) return;
  const photo = query.kind === "photo";
  const seen = photo || query.kind === "listing";
  const image = $("query-photo");
  const legible = (yes) => {
    image.hidden = !yes;
    $("unreadable").hidden = yes;
    crop.show(yes && photo);
    $("crop-help").hidden = $("enlarge").hidden = !(yes && photo);
  };
  image.onload = () => legible(true);
  image.onerror = () => legible(false);
  $("unreadable").textContent = "No preview of this kind of file in this browser; it is searched for all the same";
  crop.show(false);
  $("whole").hidden = $("enlarge").hidden = true;
  if (seen) image.src = photo ? query.url : photoUrl(query.photoId, 480);
  else {
    image.removeAttribute("src");
    legible(false);
    $("unreadable").textContent = query.kind === "image" ? `The picture at ${new URL(query.id).host}` : "A photo from a link";
  }
  image.alt = photo ? "Your query photo" : `Photo of ${query.title}`;
  $("query-label").hidden = query.kind !== "listing";
  $("query-label").textContent = query.kind !== "listing" ? "" : `More like “${query.title}”`;
}

// Large enough to draw a box on with a finger, on a phone.
export function enlarge(large) {
  $("preview").classList.toggle("large", large);
  $("enlarge").textContent = large ? "Done" : "Draw a box";
  $("enlarge").ariaExpanded = String(large);
}
