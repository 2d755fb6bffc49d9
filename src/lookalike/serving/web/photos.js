// Photos that were searched for, kept in this browser for a day: back, reload and a new tab find them again.

const LONGEST_SIDE = 1200;
const KEPT = 30;
const KEPT_MILLISECONDS = 24 * 3600 * 1000;

const recent = new Map(); // id -> blob: where the browser keeps no database, this page's own memory has to do

const asked = (request) => new Promise((done, failed) => {
  request.onsuccess = () => done(request.result);
  request.onerror = () => failed(request.error);
});

let opening;

function database() {
  opening ??= (async () => {
    const request = indexedDB.open("lookalike", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("photos", { keyPath: "id" }).createIndex("at", "at");
    return asked(request);
  })();
  return opening;
}

// Keep a photo; its id, which says nothing of the photo.
export async function keep(blob) {
  const id = Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => byte.toString(36).padStart(2, "0")).join("");
  recent.set(id, blob);
  try {
    const bytes = await blob.arrayBuffer(); // rather than the file: one that changes on disk could not be read again
    const store = (await database()).transaction("photos", "readwrite").objectStore("photos");
    await asked(store.put({ id, at: Date.now(), bytes, type: blob.type }));
  } catch { /* no database here, or no room: the page's memory has it */ }
  tidy();
  return id;
}

export async function recall(id) {
  if (recent.has(id)) return recent.get(id);
  try {
    const found = await asked((await database()).transaction("photos").objectStore("photos").get(id));
    if (!found) return null;
    const blob = new Blob([found.bytes], { type: found.type });
    recent.set(id, blob);
    return blob;
  } catch {
    return null;
  }
}

async function tidy() {
  try {
    const store = (await database()).transaction("photos", "readwrite").objectStore("photos");
    const ids = await asked(store.index("at").getAllKeys());
    const old = await asked(store.index("at").getAllKeys(IDBKeyRange.upperBound(Date.now() - KEPT_MILLISECONDS)));
    for (const id of new Set([...old, ...ids.slice(0, Math.max(0, ids.length - KEPT))])) store.delete(id);
  } catch { /* nothing is kept, so nothing is old */ }
}

// A photo as it is sent: large ones are shrunk here, upright, so that a phone sends 200 kB instead of 5 MB. What the
// browser cannot decode, such as HEIC in most, is sent as it is: the server decodes it, or says what is wrong.
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
