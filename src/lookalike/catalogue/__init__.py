"""From a shop's catalogue to a curated snapshot: listings, photos, the rules that leave some out."""
