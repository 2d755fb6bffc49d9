"""From code shards to an index snapshot: the segment format, its builder and reader, the Hamming scan."""
