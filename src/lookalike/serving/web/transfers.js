// Photos that are pasted or dropped: files, pictures dragged from a page, and addresses of pictures.

const isAddress = (text) => /^(https?:|data:image\/)\S+$/.test(text);

// The address in a transfer's text, or "": of a link or picture that was dragged, or one that was copied.
function addressIn(transfer) {
  const lines = (transfer.getData("text/uri-list") || transfer.getData("text/plain")).split(/\r?\n/).map((line) => line.trim());
  return lines.find(isAddress) ?? "";
}

// What a transfer holds, read while its event lasts: {file} or {address}, or null where it is neither.
function held(transfer) {
  const file = [...(transfer?.files ?? [])][0];
  if (file) return { file };
  const address = transfer ? addressIn(transfer) : "";
  return address ? { address } : null;
}

// The photo of what was transferred, or null.
export async function given({ file, address }) {
  if (file) return file;
  if (address.startsWith("data:")) return ofDataAddress(address);
  if (new URL(address).origin !== location.origin) return null;
  const reply = await fetch(address);
  return reply.ok ? reply.blob() : null;
}

function ofDataAddress(address) {
  const [, type, coded] = /^data:(image\/[\w.+-]+);base64,(.*)$/.exec(address) ?? [];
  if (!coded) return null;
  try {
    return new Blob([Uint8Array.from(atob(coded), (letter) => letter.charCodeAt(0))], { type });
  } catch {
    return null;
  }
}

const carries = (event) => event.dataTransfer?.types.some((type) => type === "Files" || type === "text/uri-list");

// Calls `take` with what is pasted or dropped anywhere; `veil` shows while something hovers.
export function watchTransfers(veil, take) {
  document.addEventListener("paste", (event) => {
    const found = held(event.clipboardData);
    if (!found || (found.address && event.target.closest?.("input:not([type=file]), textarea"))) return;
    event.preventDefault();
    take(found);
  });
  let depth = 0;
  const over = (by) => { depth = Math.max(0, by === null ? 0 : depth + by); veil.hidden = depth === 0; };
  document.addEventListener("dragenter", (event) => { if (carries(event)) over(1); });
  document.addEventListener("dragleave", (event) => { if (carries(event)) over(-1); });
  document.addEventListener("dragover", (event) => { if (carries(event)) event.preventDefault(); });
  document.addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    over(null);
    const found = held(event.dataTransfer);
    if (found) take(found);
  });
}
