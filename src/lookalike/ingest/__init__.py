"""Changes in, deltas out: what is new in a catalogue becomes searchable without an index being built anew."""
