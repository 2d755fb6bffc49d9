// Filters: prices, aspects, and how much what counts. On a wide page they stand beside the hits, on a phone in a sheet.

import { aspectName, count } from "./names.js";
import { keepingFocus, toolbar } from "./toolbars.js";
import { chip, node } from "./view.js";

const VALUES_AT_FIRST = 8;
const $ = (id) => document.getElementById(id);

export class Filters {
  #stock = null;
  #usual = null; // the step of the slider that the shop set
  #open = new Set(); // aspects all of whose values are shown

  // `changed(kind, milliseconds)` is told of every change of `wanted`; a kind that is changed bit by bit has a name.
  constructor(wanted, changed) {
    this.wanted = wanted;
    this.changed = changed;
    toolbar($("aspect-filters"), "Filters by what listings state; arrow keys move");
    for (const [i, id] of ["price-from", "price-to"].entries()) {
      $(id).addEventListener("input", () => { this.wanted().price[i] = $(id).value; this.count(); changed("price", 450); });
    }
    $("alpha").addEventListener("input", () => { this.wanted().alpha = $("alpha").value; this.#words(); changed("alpha", 250); });
    $("colour").addEventListener("input", () => { this.wanted().colour = this.#colour(); this.#words(); changed("colour", 250); });
    $("clear-filters").onclick = () => this.clear();
  }

  // What there is to filter by, of the whole catalogue.
  learn(stock) {
    this.#stock = stock;
    $("price-filter").hidden = !stock.price;
    if (stock.price) {
      $("price-from").placeholder = String(Math.floor(stock.price.from));
      $("price-to").placeholder = String(Math.ceil(stock.price.to));
    }
    $("colour-slider").hidden = stock.colour === null;
    if (stock.colour !== null) this.#usual = stock.colour > 0 ? Math.round(2 * Math.log2(stock.colour)) / 2 : -1;
    this.show();
  }

  // Bring the controls in line with what is wanted.
  show() {
    const { price, alpha, colour } = this.wanted();
    for (const [i, id] of ["price-from", "price-to"].entries()) if ($(id).value !== price[i]) $(id).value = price[i];
    $("alpha").value = alpha ?? 0.75;
    if (this.#usual !== null) $("colour").value = colour === null ? this.#usual : Number(colour) > 0 ? Math.log2(Number(colour)) : -1;
    this.#words();
    const aspects = Object.entries(this.#stock?.aspects ?? {});
    keepingFocus($("aspect-filters"), () => $("aspect-filters").replaceChildren(...aspects.map(([name, values]) => this.#aspect(name, Object.entries(values)))));
    this.count();
  }

  count() {
    const { aspects, price } = this.wanted();
    const active = [...aspects.values()].reduce((sum, values) => sum + values.size, 0) + (price[0] || price[1] ? 1 : 0);
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
    wanted.price = ["", ""];
    this.show();
    this.changed();
  }

  toggle(name, value) {
    const { aspects } = this.wanted();
    const values = new Set(aspects.get(name));
    if (!values.delete(value)) values.add(value);
    if (values.size) aspects.set(name, values);
    else aspects.delete(name);
    this.show();
    this.changed();
  }

  #aspect(name, values) {
    const chosen = this.wanted().aspects.get(name) ?? new Set();
    const many = this.#open.has(name) ? Infinity : VALUES_AT_FIRST;
    const shown = values.filter(([value], i) => i < many || chosen.has(value));
    const chips = shown.map(([value, n]) => chip(value, count(n), chosen.has(value), `${name}=${value}`, () => this.toggle(name, value)));
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
