"""What a run's end means, in plain words: what happened, and what to do.

Errors of Lookalike are written for people and pass as they are. The rest, of Prefect, Kubernetes and Python, is
recognised by its text.
"""

from __future__ import annotations

import re

_OURS = re.compile(r"^(?:Flow run|Task run) encountered an exception:? ?")
_CLASS = re.compile(r"^(?:[a-z_]+\.)*([A-Z]\w*(?:Error|Held|Race|Exception|Busy|Unavailable)): ")
_KNOWN: tuple[tuple[str, str], ...] = (
    (
        r"(?:status|exit) code:? ?-?(?:137|9)\b|OOMKilled|MemoryError",
        "It ran out of memory, or was killed. Give its Job more memory, or share the work between more parts.",
    ),
    (
        r"(?:status|exit) code:? ?-?(?:143|15)\b|SIGTERM",
        "It was stopped from outside. Start it again: it goes on where it was.",
    ),
    (
        r"DeadlineExceeded|timed? ?out|TimeoutError",
        "It took longer than it may. Start it again: it goes on where it was.",
    ),
    (
        r"ImagePullBackOff|ErrImagePull",
        "Its image cannot be fetched. Look at the registry and the image's name.",
    ),
    (
        r"Unschedulable|FailedScheduling|Insufficient (?:cpu|memory|nvidia)",
        "No machine has room for it. Add one, or ask for less.",
    ),
    (r"No space left on device|ENOSPC", "The disk is full. Give its pod more room."),
    (
        r"ConnectError|ConnectionRefused|Connection refused|Name or service not known",
        "A service could not be reached. Start it again; if it stays so, look at the network.",
    ),
    (
        r"ModuleNotFoundError: No module named '([\w.]+)'",
        r"A package is missing: \1. Use the image that was made for this step.",
    ),
    (
        r"Flow run infrastructure exited|Flow run process exited|process exited",
        "Its process ended before it was done. Its log says why. Start it again: it goes on where it was.",
    ),
)


def plain(message: str) -> str:
    """A run's message for a person."""
    text = _CLASS.sub("", _OURS.sub("", message.strip()))
    for pattern, said in _KNOWN:
        if found := re.search(pattern, message):
            return found.expand(said)
    return text
