// What a photo was understood to show: categories to switch on and off, and aspects to filter by.

import { categoryName } from "./names.js";
import { keepingFocus } from "./toolbars.js";
import { chip, node } from "./view.js";

const LIKELY = 0.3; // an aspect value that is less probable is not offered
const $ = (id) => document.getElementById(id);

// `asked()` is what is wanted, which pressing changes; `guesses` are those of a reply without a choice of categories, `all` the catalogue's.
export function showUnderstood(reply, { asked, guesses, all, filters, changed }) {
  const wanted = asked();
  const set = (everything, categories) => { Object.assign(asked(), { everything, categories }); changed(); };
  const toggle = (category) => {
    const chosen = new Set(wanted.categories ?? (wanted.everything ? [] : opened));
    if (!chosen.delete(category)) chosen.add(category);
    set(false, chosen.size ? chosen : null);
  };
  const opened = new Set(reply.categories.filter((guess) => guess.opened).map((guess) => guess.category));
  const likely = guesses.filter((guess) => guess.opened || guess.probability >= 0.01);
  const shown = new Map(likely.map((guess) => [guess.category, guess.probability]));
  for (const category of opened) if (!shown.has(category) && !wanted.everything) shown.set(category, null);
  const chips = [...shown].map(([category, probability]) => {
    const one = chip(categoryName(category), probability === null ? "" : `${Math.round(probability * 100)} %`, !wanted.everything && opened.has(category), category, () => toggle(category));
    one.title = category;
    return one;
  });
  if (all.length > 1) {
    const wide = chip("Everything", "", wanted.everything, "/", () => set(!wanted.everything, null));
    wide.title = "Search all categories, also for what only looks like it";
    chips.push(wide);
  }
  if (wanted.categories) chips.push(node("button", { type: "button", className: "more-values", "data-key": "//", onclick: () => set(false, null) }, "as predicted"));
  keepingFocus($("categories"), () => $("categories").replaceChildren(...chips));
  const others = all.filter((category) => !shown.has(category));
  $("other").hidden = !others.length;
  $("other").replaceChildren(node("option", { value: "" }, "other …"), ...others.map((category) => node("option", { value: category }, categoryName(category))));
  $("other").onchange = () => $("other").value && toggle($("other").value);
  const aspects = Object.entries(reply.aspects).filter(([, values]) => values.length && values[0].probability >= LIKELY);
  $("predicted").hidden = !aspects.length;
  keepingFocus($("predicted-aspects"), () => $("predicted-aspects").replaceChildren(...aspects.map(([name, values]) => {
    const [{ value }] = values;
    const on = wanted.aspects.get(name)?.has(value) ?? false;
    const one = chip(value, name, on, `${name}=${value}`, () => filters.toggle(name, value));
    one.title = on ? "Filter is on: only listings with it" : "Show only listings with it";
    return one;
  })));
  $("understood").hidden = false;
}
