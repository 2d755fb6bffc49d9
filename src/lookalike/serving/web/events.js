// What of an answer was seen and clicked, told to the server where its answers ask for it (docs/api.md). Once each.

import { Lookalike } from "./client.js";

const SEEN = 0.5; // the share of a card that has to be in view
const TOGETHER_MS = 1000;
const shop = new Lookalike(location.origin);
const places = new Map(); // listing id -> {answer, hit, offset}, as it was shown last
const told = new Set();
let waiting = [];

function tell(event, { answer, hit, offset }) {
  const key = `${event} ${answer.answer_id} ${hit.listing_id}`;
  if (told.has(key)) return;
  told.add(key);
  if (event === "click") return void shop.tell(event, answer, [hit], { offset });
  if (!waiting.length) setTimeout(sendSeen, TOGETHER_MS);
  waiting.push({ answer, hit, offset });
}

function sendSeen() {
  const seen = waiting;
  waiting = [];
  for (const answer of new Set(seen.map((each) => each.answer))) {
    const of = seen.filter((each) => each.answer === answer);
    shop.tell("impression", answer, of.map((each) => each.hit), { offset: of[0].offset });
  }
}

const watching = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    watching.unobserve(target);
    const place = places.get(target.dataset.listing);
    if (place) tell("impression", place);
  }
}, { threshold: SEEN });

// Cards of an answer's hits, in their order; `offset` is the place of the first less one.
export function watchHits(cards, answer, offset) {
  if (!answer.answer_id) return;
  for (const [i, hit] of answer.hits.entries()) {
    places.set(hit.listing_id, { answer, hit, offset });
    watching.observe(cards[i]);
  }
}

export function clicked(listingId) {
  const place = places.get(listingId);
  if (place) tell("click", place);
}
