// The search API, as far as the page needs it. A failed request becomes a Problem (RFC 9457).

import { parameters } from "./address.js";

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

const encodePath = (id) => id.split("/").map(encodeURIComponent).join("/");
const listings = new Map();

// Everything known of a listing; asked once.
export async function listing(id) {
  if (!listings.has(id)) listings.set(id, await ask(`/v1/listings/${encodePath(id)}`));
  return listings.get(id);
}

export const photoUrl = (photoId, size) => `/v1/photos/${photoId}?size=${size}`;

// One search: `query` is {kind: "photo", blob} or {kind: "listing", id}, `wanted` what address.js reads.
export async function search(query, wanted, { k, offset = 0 }, signal) {
  const given = parameters(wanted);
  given.set("k", k);
  if (offset) given.set("offset", offset);
  else given.set("facets", "true");
  const init = { method: "POST", signal };
  if (query.kind === "listing") {
    given.delete("box");
    given.set("listing_id", query.id);
  } else {
    init.body = query.blob;
    init.headers = { "Content-Type": query.blob.type || "application/octet-stream" };
  }
  return ask(`/v1/search?${given}`, init);
}
