"""From photo to code: the model release as readers see it, packing of codes, the encoder, and extraction."""
