// Groups of buttons as one stop of the Tab key each: arrows, Home and End move within (the toolbar pattern of WAI-ARIA).
// Whatever is redrawn, focus stays where it was.

const FORWARD = ["ArrowRight", "ArrowDown"];
const BACKWARD = ["ArrowLeft", "ArrowUp"];

export function toolbar(element, label) {
  element.setAttribute("role", "toolbar");
  if (label) element.setAttribute("aria-label", label);
  const items = () => [...element.querySelectorAll("button, input")].filter((item) => !item.closest("[hidden]"));
  const stopAt = (one) => { for (const item of items()) item.tabIndex = item === one ? 0 : -1; };
  const settle = () => {
    const all = items();
    if (all.length && all.filter((item) => item.tabIndex === 0).length !== 1) {
      stopAt(all.find((item) => item === document.activeElement) ?? all[0]);
    }
  };
  new MutationObserver(settle).observe(element, { childList: true, subtree: true, attributes: true, attributeFilter: ["hidden"] });
  element.addEventListener("focusin", (event) => { if (items().includes(event.target)) stopAt(event.target); });
  element.addEventListener("keydown", (event) => {
    const all = items();
    const here = all.indexOf(document.activeElement);
    if (here < 0) return;
    const next = FORWARD.includes(event.key) ? here + 1 : BACKWARD.includes(event.key) ? here - 1
      : event.key === "Home" ? 0 : event.key === "End" ? all.length - 1 : null;
    if (next === null) return;
    event.preventDefault();
    all[(next + all.length) % all.length].focus();
  });
  settle();
}

// Fill a container anew; the element of the same `data-key` has the focus afterwards, or the container's first.
export function keepingFocus(container, fill) {
  const held = container.contains(document.activeElement) ? document.activeElement : null;
  fill();
  if (!held || container.contains(held)) return;
  const same = [...container.querySelectorAll("[data-key]")].find((element) => element.dataset.key === held.dataset.key);
  (same ?? container.querySelector("button, input, select"))?.focus({ preventScroll: true });
}
