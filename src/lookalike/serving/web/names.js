// What things are called: categories by the shortest path that tells them apart, numbers and prices in the reader's own way.

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const words = (part) => sentence(part.trim().replaceAll(/[-_]/g, " "));

// category -> the end of its path, as long as it takes to be no other's: "Boot", or "Women › Boot" where there are two.
export function shortNames(categories) {
  const names = new Map();
  const paths = categories.map((category) => category.split("/").map(words));
  const tail = (path, length) => path.slice(-length).join(" › ");
  let open = categories.map((_, i) => i);
  for (let length = 1; open.length; length++) {
    const bearers = grouped(open, (i) => tail(paths[i], length).toLowerCase());
    open = [];
    for (const same of bearers.values()) {
      if (same.length === 1 || same.every((i) => paths[i].length <= length)) for (const i of same) names.set(categories[i], tail(paths[i], length));
      else open.push(...same);
    }
  }
  return names;
}

function grouped(items, keyOf) {
  const groups = new Map();
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  return groups;
}

let known = new Map();

// From here on `categoryName` tells these categories apart.
export function learnCategories(categories) {
  known = shortNames(categories);
}

export const categoryName = (category) => known.get(category) ?? words(category.slice(category.lastIndexOf("/") + 1));
export const categoryPath = (category) => category.split("/").map(words).join(" › ");
export const titleOf = (entry) => entry.title || categoryName(entry.category);
export const aspectName = sentence;

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

// The catalogue decides what a listing's address is: only one of the web becomes a link.
export function webAddress(url) {
  try {
    const found = new URL(url ?? "");
    return /^https?:$/.test(found.protocol) ? found.href : null;
  } catch {
    return null;
  }
}
