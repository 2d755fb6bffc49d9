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

// One search: `query` is {kind, id} and of a photo its blob, `wanted` what address.js reads. A photo is sent once: the
// `query_id` of the reply stands for it and the box for some minutes, and is kept in query.ids.
export async function search(query, wanted, options, signal) {
  query.ids ??= new Map();
  const box = String(wanted.box ?? "");
  const known = query.ids.get(box);
  let found;
  try {
    found = await searchOnce(query, wanted, options, signal, known);
  } catch (error) {
    if (!known || !error.type?.endsWith(":query-expired")) throw error;
    query.ids.delete(box);
    found = await searchOnce(query, wanted, options, signal);
  }
  if (found.query_id) query.ids.set(box, found.query_id);
  return found;
}

async function searchOnce(query, wanted, { k, offset = 0 }, signal, known) {
  const given = parameters(wanted);
  given.set("k", k);
  if (offset) given.set("offset", offset);
  else given.set("facets", "true");
  const init = { method: "POST", signal };
  const named = { listing: "listing_id", image: "image_url", query: "query_id" }[query.kind];
  if (known || named) {
    if (known || query.kind !== "image") given.delete("box");
    given.set(known ? "query_id" : named, known ?? query.id);
  } else {
    init.body = query.blob;
    init.headers = { "Content-Type": query.blob.type || "application/octet-stream" };
  }
  return ask(`/v1/search?${given}`, init);
}
