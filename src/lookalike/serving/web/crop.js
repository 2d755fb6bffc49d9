// The crop box: an adjustable rectangle over an image, for mouse, touch and keyboard.
// It speaks in fractions of the photo: [x, y, width, height], or null for the whole photo.

const HANDLES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];
const SMALLEST = 0.06;
const STEP = 0.02;
const WHOLE = [0, 0, 1, 1];

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

export class CropBox {
  constructor(frame, onChange) {
    this.frame = frame;
    this.shade = document.createElement("div");
    this.shade.className = "crop-shade";
    this.clip = document.createElement("div");
    this.clip.className = "crop-clip";
    this.clip.append(this.shade);
    this.onChange = onChange;
    this.box = [...WHOLE];
    this.element = document.createElement("div");
    this.element.className = "crop-box";
    this.element.tabIndex = 0;
    this.element.setAttribute("role", "group");
    this.element.setAttribute("aria-describedby", "crop-help");
    for (const name of HANDLES) {
      const handle = document.createElement("span");
      handle.className = `crop-handle ${name}`;
      handle.dataset.edges = name;
      this.element.append(handle);
    }
    frame.append(this.clip, this.element);
    frame.classList.add("drawable");
    frame.addEventListener("pointerdown", (event) => this.#grab(event));
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.#draw();
  }

  get value() {
    return this.box.every((part, i) => Math.abs(part - WHOLE[i]) < 1e-4) ? null : this.box;
  }

  show(visible) {
    this.element.hidden = this.clip.hidden = !visible;
  }

  // A box from elsewhere, null for the whole photo. `onChange` is not called.
  set(box) {
    this.#set(box ? [...box] : [...WHOLE]);
  }

  #grab(event) {
    if (event.button !== 0 || this.element.hidden) return;
    const inside = this.element.contains(event.target);
    event.preventDefault();
    const area = this.frame.getBoundingClientRect();
    const at = (e) => [clamp((e.clientX - area.left) / area.width, 0, 1), clamp((e.clientY - area.top) / area.height, 0, 1)];
    const start = at(event);
    const before = [...this.box];
    const whole = this.value === null;
    // Dragging inside a box that covers everything, or beside a smaller one, draws a new box.
    const edges = event.target.dataset?.edges ?? (inside && !whole ? "move" : "draw");
    const target = inside ? this.element : this.frame;
    target.setPointerCapture(event.pointerId);
    this.element.focus({ preventScroll: true });
    const move = (e) => {
      const now = at(e);
      const [dx, dy] = [now[0] - start[0], now[1] - start[1]];
      if (edges === "move") this.#set(this.#moved(before, dx, dy));
      else if (edges === "draw") this.#set(this.#between(start, now));
      else this.#set(this.#resized(before, edges, dx, dy));
    };
    const end = (e) => {
      target.removeEventListener("pointermove", move);
      target.removeEventListener("pointerup", end);
      target.removeEventListener("pointercancel", end);
      if (edges === "draw" && Math.hypot(e.clientX - event.clientX, e.clientY - event.clientY) < 6) this.#set(before);
      if (this.box.some((part, i) => part !== before[i])) this.onChange();
    };
    target.addEventListener("pointermove", move);
    target.addEventListener("pointerup", end);
    target.addEventListener("pointercancel", end);
  }

  #key(event) {
    const direction = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
    if (!direction) return;
    event.preventDefault();
    const next = event.shiftKey ? this.#resized(this.box, "se", ...direction) : this.#moved(this.box, ...direction);
    if (next.some((part, i) => part !== this.box[i])) {
      this.#set(next);
      this.onChange();
    }
  }

  #moved([x, y, w, h], dx, dy) {
    return [clamp(x + dx, 0, 1 - w), clamp(y + dy, 0, 1 - h), w, h];
  }

  #between([ax, ay], [bx, by]) {
    const [w, h] = [Math.max(SMALLEST, Math.abs(ax - bx)), Math.max(SMALLEST, Math.abs(ay - by))];
    return [clamp(Math.min(ax, bx), 0, 1 - w), clamp(Math.min(ay, by), 0, 1 - h), w, h];
  }

  #resized([x, y, w, h], edges, dx, dy) {
    let [left, top, right, bottom] = [x, y, x + w, y + h];
    if (edges.includes("w")) left = clamp(left + dx, 0, right - SMALLEST);
    if (edges.includes("e")) right = clamp(right + dx, left + SMALLEST, 1);
    if (edges.includes("n")) top = clamp(top + dy, 0, bottom - SMALLEST);
    if (edges.includes("s")) bottom = clamp(bottom + dy, top + SMALLEST, 1);
    return [left, top, right - left, bottom - top];
  }

  #set(box) {
    this.box = box;
    this.#draw();
  }

  #draw() {
    const [x, y, w, h] = this.box;
    for (const { style } of [this.element, this.shade]) {
      style.left = `${x * 100}%`;
      style.top = `${y * 100}%`;
      style.width = `${w * 100}%`;
      style.height = `${h * 100}%`;
    }
    const percent = (part) => `${Math.round(part * 100)} %`;
    const label = this.value
      ? `Crop box, ${percent(w)} wide and ${percent(h)} high, at ${percent(x)} from the left and ${percent(y)} from the top`
      : "Crop box, the whole photo";
    this.element.setAttribute("aria-label", label);
  }
}
