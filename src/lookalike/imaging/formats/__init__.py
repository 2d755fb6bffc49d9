"""The containers of photos, one module each, read without decoding: what a photo will cost, and its pixels alone."""
