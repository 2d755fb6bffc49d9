"""From a curated snapshot to a model release. The only room that imports torch."""

from lookalike.settings import let_waiting_threads_sleep

let_waiting_threads_sleep()
