// @hey-api/openapi-ts writes ./hey: functions and types, with a client of its own on fetch.
import { readFileSync } from "node:fs";
import { client } from "./hey/client.gen.js";
import { listing, photo, search } from "./hey/index.js";

const [, , address, file] = process.argv;
client.setConfig({ baseUrl: address as never });

const found = await search({ body: { photo: readFileSync(file!).toString("base64"), k: 3, filters: { aspects: {} } } });
if (found.data === undefined) throw new Error(JSON.stringify(found.error));
const first = found.data.hits[0]!;

const more = await search({ body: { listing_id: first.listing_id, k: 3 } });
if (more.data === undefined) throw new Error(JSON.stringify(more.error));

const picture = await photo({ path: { photo_id: first.photo_id }, query: { size: 96 }, parseAs: "blob" });
const bytes = new Uint8Array(await (picture.data as Blob).arrayBuffer());
if (bytes[0] !== 0xff || bytes[1] !== 0xd8) throw new Error("no JPEG");

const refused = await listing({ path: { listing_id: "no such" } });
if (refused.response?.status !== 404) throw new Error("an unknown listing was found");
console.log(`${found.data.hits.length} by photo, ${more.data.hits.length} by listing, ${bytes.length} bytes of a picture`);
