// openapi-typescript writes schema.d.ts; openapi-fetch asks by it.
import createClient from "openapi-fetch";
import { readFileSync } from "node:fs";
import type { paths } from "./schema.js";

const [, , address, file] = process.argv;
const shop = createClient<paths>({ baseUrl: address });

const found = await shop.POST("/v1/search", {
  params: { query: { k: 3, aspects: [] } },
  body: new Blob([readFileSync(file!)]) as unknown as string,
  bodySerializer: (body) => body as unknown as Blob,
  headers: { "Content-Type": "application/octet-stream" },
});
if (found.data === undefined) throw new Error(found.error.detail);
const first = found.data.hits[0]!;

const more = await shop.GET("/v1/search", { params: { query: { listing_id: first.listing_id, k: 3 } } });
if (more.data === undefined) throw new Error(more.error.detail);

const picture = await shop.GET("/v1/photos/{photo_id}", {
  params: { path: { photo_id: first.photo_id }, query: { size: 96 } },
  parseAs: "arrayBuffer",
});
const bytes = new Uint8Array(picture.data as ArrayBuffer);
if (bytes[0] !== 0xff || bytes[1] !== 0xd8) throw new Error("no JPEG");

const refused = await shop.GET("/v1/listings/{listing_id}", { params: { path: { listing_id: "no such" } } });
if (refused.error?.status !== 404) throw new Error("an unknown listing was found");
console.log(`${found.data.hits.length} by photo, ${more.data.hits.length} by listing, ${bytes.length} bytes of a picture`);
