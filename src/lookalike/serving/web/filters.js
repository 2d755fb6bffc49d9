// Filters: prices, aspects, and how much what counts. On a wide page they stand beside the hits, on a phone in a sheet.

import { LABELS } from "./address.js";
import { aspectName, count } from "./names.js";
import { keepingFocus, toolbar } from "./toolbars.js";
import { chip, node } from "./view.js";

const VALUES_AT_FIRST = 8;
const $ = (id) => document.getElementById(id);

export class Filters {
  #stock = null;
  #usual = null; // the step of the slider that the shop set
  #open = new Set(); // names all of whose values are shown
  #facets = null; // of the last answer
  #offered = new Map(); // name -> its values in the last answer that was not filtered by it

  // `changed(kind, milliseconds)` is told of every change of `wanted`; a kind that is changed bit by bit has a name.
  constructor(wanted, changed) {
    this.wanted = wanted;
    this.changed = changed;
    toolbar($("aspect-filters"), "Filters by what listings state; arrow keys move");
    for (const [i, id] of ["price-from", "price-to"].entries()) {
      $(id).addEventListener("input", () => { this.wanted().price[i] = $(id).value; this.count(); changed("price", 450); });
    }
    $("text").addEventListener("input", () => { this.wanted().text = $("text").value.trim(); this.count(); changed("text", 600); });
    $("alpha").addEventListener("input", () => { this.wanted().alpha = $("alpha").value; this.#words(); changed("alpha", 250); });
    $("colour").addEventListener("input", () => { this.wanted().colour = this.#colour(); this.#words(); changed("colour", 250); });
    $("clear-filters").onclick = () => this.clear();
  }

  // What there is to filter by, of the whole catalogue.
  learn(stock) {
    this.#stock = stock;
    $("price-filter").hidden = !stock.price;
    $("colour-slider").hidden = stock.colour === null;
    if (stock.colour !== null) this.#usual = stock.colour > 0 ? Math.round(2 * Math.log2(stock.colour)) / 2 : -1;
    this.show();
  }

  // Count by what an answer's listings state; null: by the whole catalogue.
  learnFacets(facets) {
    this.#facets = facets;
    this.show();
  }

  // What was understood of the words beside the photo: {wishes, unknown}, or null where there were none.
  learnText(text) {
    $("text-said").hidden = !text;
    if (!text) return;
    const wishes = text.wishes.map((wish) => (wish.against ? `not ${wish.words}` : wish.words));
    const said = [wishes.length ? `Preferred: ${wishes.join(", ")}.` : "", text.unknown.length ? `Means nothing here: ${text.unknown.join(", ")}.` : ""];
    $("text-said").textContent = said.filter(Boolean).join(" ") || "None of these words means anything here.";
  }

  // Bring the controls in line with what is wanted.
  show() {
    const { price, text, alpha, colour } = this.wanted();
    if ($("text").value.trim() !== text) $("text").value = text;
    for (const [i, id] of ["price-from", "price-to"].entries()) if ($(id).value !== price[i]) $(id).value = price[i];
    $("alpha").value = alpha ?? 0.75;
    if (this.#usual !== null) $("colour").value = colour === null ? this.#usual : Number(colour) > 0 ? Math.log2(Number(colour)) : -1;
    this.#words();
    const reach = this.#facets?.price ?? this.#stock?.price;
    $("price-from").placeholder = reach ? String(Math.floor(reach.from)) : "";
    $("price-to").placeholder = reach ? String(Math.ceil(reach.to)) : "";
    const groups = this.#groups().map((group) => this.#group(group));
    keepingFocus($("aspect-filters"), () => $("aspect-filters").replaceChildren(...groups));
    this.count();
  }

  count() {
    const { aspects, labels, price, text } = this.wanted();
    const active = [...aspects.values(), ...labels.values()].reduce((sum, values) => sum + values.size, 0) + (price[0] || price[1] ? 1 : 0) + (text ? 1 : 0);
    for (const id of ["filter-count", "sheet-count"]) {
      $(id).textContent = String(active);
      $(id).hidden = !active;
    }
    $("clear-filters").hidden = !active;
    return active;
  }

  clear() {
    const wanted = this.wanted();
    wanted.aspects = new Map();
    wanted.labels = new Map();
    wanted.price = ["", ""];
    wanted.text = "";
    this.show();
    this.changed();
  }

  toggle(name, value) {
    this.#toggle(this.wanted().aspects, name, value);
  }

  #toggle(chosen, name, value) {
    const values = new Set(chosen.get(name));
    if (!values.delete(value)) values.add(value);
    if (values.size) chosen.set(name, values);
    else chosen.delete(name);
    this.show();
    this.changed();
  }

  // What there is to choose from, [name, chosen, values with how many of this answer's listings state them]: of a name
  // that is filtered by, values that the answer no longer has are offered still, without a number.
  #groups() {
    const { aspects, labels } = this.wanted();
    const facets = this.#facets;
    const found = Object.entries(this.#stock?.aspects ?? {}).map(([name, values]) => [aspects, name, facets ? facets.aspects[name] ?? {} : values, values]);
    for (const name of LABELS) found.push([labels, name, facets?.[name] ?? {}, {}]);
    return found.map(([chosen, name, counted, all]) => {
      const on = chosen.get(name) ?? new Set();
      if (!on.size) {
        this.#offered.set(name, counted);
        return [chosen, name, on, Object.entries(counted)];
      }
      const others = Object.keys(this.#offered.get(name) ?? all).filter((value) => !(value in counted));
      const missing = [...on].filter((value) => !(value in counted) && !others.includes(value));
      return [chosen, name, on, [...Object.entries(counted), ...[...missing, ...others].map((value) => [value, null])]];
    }).filter(([chosen, , on, values]) => on.size || values.length > (chosen === labels ? 1 : 0));
  }

  #group([chosen, name, on, values]) {
    const many = this.#open.has(name) ? Infinity : VALUES_AT_FIRST;
    const shown = values.filter(([value], i) => i < many || on.has(value));
    const chips = shown.map(([value, n]) => chip(value, n === null ? "" : count(n), on.has(value), `${name}=${value}`, () => this.#toggle(chosen, name, value)));
    const hidden = values.length - shown.length;
    if (hidden) chips.push(node("button", { type: "button", className: "more-values", "data-key": `${name}…`, ariaLabel: `${hidden} more values of ${name}`, onclick: () => { this.#open.add(name); this.show(); } }, `${hidden} more`));
    const title = aspectName(name);
    return node("div", { className: "aspect", role: "group", ariaLabel: title }, node("h3", {}, title), node("div", { className: "chips" }, ...chips));
  }

  // How many times colours count: the slider's steps are powers of two, its lower end none; null: as the shop set it.
  #colour() {
    const step = Number($("colour").value);
    if (this.#usual === null || step === this.#usual) return null;
    return String(step < 0 ? 0 : 2 ** step);
  }

  #words() {
    $("alpha-value").textContent = `${Math.round($("alpha").value * 100)} % looks`;
    const asked = this.#colour();
    $("colour-value").textContent = asked === null ? "as usual" : asked === "0" ? "not at all" : `${Math.round(asked * 10) / 10} times`;
  }
}
