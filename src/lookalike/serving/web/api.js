// The search API, as far as the page needs it. A failed request becomes a Problem (RFC 9457).

export class Problem extends Error {
  constructor(body, status, retryAfter) {
    super(body.detail || body.title || `HTTP ${status}`);
    this.title = body.title || "The search failed";
    this.type = body.type || "about:blank";
    this.requestId = body.request_id || "";
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

async function reply(response) {
  if (response.ok) return response.json();
  let body = {};
  try { body = await response.json(); } catch { /* not ours: a proxy's error page */ }
  throw new Problem(body, response.status, Number(response.headers.get("Retry-After")) || 0);
}

// The reply to a request. A busy or starting server (503) is asked `more` times again, after the time it names.
async function ask(url, init = {}, more = 2) {
  for (let attempt = 0; ; attempt++) {
    try {
      return await reply(await fetch(url, init));
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 503 || attempt === more) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1000 * (error.retryAfter || 1)));
      init.signal?.throwIfAborted();
    }
  }
}

// A server that is loading its first snapshot has none yet.
export const catalogue = () => ask("/v1/catalogue", {}, 20);

export const listing = async (id) => reply(await fetch(`/v1/listings/${encodePath(id)}`));

export const photoUrl = (photoId, size) => `/v1/photos/${photoId}?size=${size}`;

const encodePath = (id) => id.split("/").map(encodeURIComponent).join("/");

// One search.
export async function search(query, options, signal) {
  const parameters = new URLSearchParams({ k: options.k, alpha: options.alpha });
  if (options.offset) parameters.set("offset", options.offset);
  if (options.colour !== null) parameters.set("colour", options.colour);
  if (options.everything) parameters.set("everything", "true");
  for (const category of options.categories) parameters.append("categories", category);
  for (const [name, values] of options.aspects) for (const value of values) parameters.append("aspects", `${name}=${value}`);
  const [low, high] = options.price;
  if (low !== "" || high !== "") parameters.set("price", `${low}..${high}`);
  const init = { method: "POST", signal };
  if (query.kind === "listing") {
    parameters.set("listing_id", query.id);
  } else {
    if (options.box) parameters.set("box", options.box.join(","));
    init.body = query.blob;
    init.headers = { "Content-Type": query.blob.type || "application/octet-stream" };
  }
  return ask(`/v1/search?${parameters}`, init);
}

const LONGEST_SIDE = 1200;

// A photo as it is sent: large ones are shrunk here, upright, so that a phone sends 200 kB instead of 5 MB. What the
// browser cannot decode is sent as it is: the server says what is wrong with it.
export async function shrink(file) {
  try {
    const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
    const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
    if (scale === 1 && file.size < 1_000_000) return file;
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    return (await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92))) || file;
  } catch {
    return file;
  }
}
