// Entries of the browser's history: each address of the page, and whether something was opened above the one before.

let returning = null; // a Back of ours on its way

// A new entry; or the present one renewed, where it is of the same `kind`: a slider that is moved makes one, not fifty.
export async function visit(address, { kind = null, replace = false, opened = false } = {}) {
  if (returning) await returning;
  const same = kind !== null && history.state?.kind === kind;
  if (replace || same || history.state?.sheet) history.replaceState({ ...history.state, kind }, "", address);
  else history.pushState({ kind, opened }, "", address);
}

// Leave what was opened above the results for `address`: Back where that led here.
export function leave(address) {
  if (history.state?.opened && !returning) {
    returning = new Promise((done) => addEventListener("popstate", done, { once: true })).then(() => { returning = null; });
    history.back();
  } else {
    visit(address, { replace: true });
  }
}
