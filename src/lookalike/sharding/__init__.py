"""An index that does not fit into one process: its shards on rankers, and the coordinator that asks all of them."""
