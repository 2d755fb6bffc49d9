// What the server found in a photo: an outline of the likeliest part, with a dot in it that searches by it.

const percent = (part) => `${part * 100}%`;

// `found` is the reply to the photo; `box` what is searched by, null where nobody drew one; `choose(box)` searches by one.
export function showFound(frame, found, box, choose) {
  frame.querySelector(".found")?.remove();
  const used = box ? null : found?.box;
  const part = used ?? found?.boxes?.[0];
  if (!part || (box && box.some((each, i) => each !== [0, 0, 1, 1][i]))) return;
  const outline = document.createElement("div");
  outline.className = used ? "found used" : "found";
  const [x, y, w, h] = part;
  Object.assign(outline.style, { left: percent(x), top: percent(y), width: percent(w), height: percent(h) });
  const dot = document.createElement("button");
  dot.type = "button";
  dot.title = dot.ariaLabel = used ? "Searched by this part: adjust it" : "Search by this part";
  dot.addEventListener("pointerdown", (event) => event.stopPropagation()); // or a box would be drawn
  dot.addEventListener("click", () => choose(part));
  outline.append(dot);
  frame.append(outline);
}
