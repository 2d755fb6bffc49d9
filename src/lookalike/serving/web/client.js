// Asks a search endpoint from a page, of any origin that its setting `access.origins` names. No framework, nothing to build.
//
//   import { Lookalike, SearchError } from "https://search.example/web/client.js";
//   const shop = new Lookalike("https://search.example", { key: "lk_..." });
//   const answer = await shop.search(file, { k: 12 });

/** An answer that is an error: `status`, `type` and `detail` as docs/api.md lists them, `retryAfter` in seconds or null. */
export class SearchError extends Error {
  constructor(status, problem, retryAfter) {
    super(problem.detail ?? problem.title ?? `status ${status}`);
    this.name = "SearchError";
    this.status = status;
    this.type = problem.type ?? "";
    this.requestId = problem.request_id ?? "";
    this.retryAfter = retryAfter;
  }
}

export class Lookalike {
  #address;
  #key;

  /** `address` of the endpoint, such as https://search.example; `key` where it asks for one. */
  constructor(address, { key = "" } = {}) {
    this.#address = String(address).replace(/\/+$/, "");
    this.#key = key;
  }

  /** Look-alikes of a photo (a File or Blob), or of a listing's id (a string). `parameters` are those of docs/api.md: one
   * whose value is a list is sent several times. `signal` (an AbortSignal) ends the search. */
  async search(photoOrListing, parameters = {}, { signal } = {}) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(parameters))
      for (const each of Array.isArray(value) ? value : [value]) if (each != null) query.append(name, each);
    const isListing = typeof photoOrListing === "string";
    if (isListing) query.set("listing_id", photoOrListing);
    return this.#ask(`/v1/search?${query}`, { method: "POST", body: isListing ? null : photoOrListing, signal });
  }

  /** What there is to filter by: categories, aspect values and prices, with counts. */
  catalogue() {
    return this.#ask("/v1/catalogue");
  }

  /** Everything known of one listing. */
  listing(id) {
    return this.#ask(`/v1/listings/${encodeURIComponent(id)}`);
  }

  /** Says what was shown ("impression") or followed ("click") of an answer: `hits` are some of its own. `offset` is that of
   * the search. Resolves to how many were kept; it never fails a page, since nobody waits for it. */
  async tell(event, answer, hits, { offset = 0 } = {}) {
    if (!answer.answer_id || !hits.length) return 0;
    const events = hits.map((hit) => ({
      event, answer_id: answer.answer_id, listing_id: hit.listing_id, rank: offset + answer.hits.indexOf(hit) + 1,
    }));
    const body = JSON.stringify({ events });
    return this.#ask("/v1/events", { method: "POST", body, keepalive: true }).then((reply) => reply.kept, () => 0);
  }

  /** Address of a listing's photo, for an <img>: its longer side has 96, 240, 480 or 960 pixels. */
  photoUrl(photoId, size = 240) {
    return `${this.#address}/v1/photos/${encodeURIComponent(photoId)}?size=${size}`;
  }

  async #ask(path, options = {}) {
    const headers = this.#key ? { Authorization: `Bearer ${this.#key}` } : {};
    const reply = await fetch(this.#address + path, { ...options, headers, credentials: "omit" });
    const body = await reply.json().catch(() => ({}));
    if (reply.ok) return body;
    const wait = Number(reply.headers.get("Retry-After"));
    throw new SearchError(reply.status, body, wait > 0 ? wait : null);
  }
}
