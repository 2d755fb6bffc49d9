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
  image.src = photo ? query.url : photoUrl(query.photoId, 480);
  image.alt = photo ? "Your query photo" : `Photo of ${query.title}`;
  $("query-label").hidden = photo;
  $("query-label").textContent = photo ? "" : `More like “${query.title}”`;
}

// Large enough to draw a box on with a finger, on a phone.
export function enlarge(large) {
  $("preview").classList.toggle("large", large);
  $("enlarge").textContent = large ? "Done" : "Draw a box";
  $("enlarge").ariaExpanded = String(large);
}
