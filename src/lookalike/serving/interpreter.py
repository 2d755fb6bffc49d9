"""How soon a thread of a search process hands the interpreter on to another that waits for it.

Python lets a thread go on for 5 ms while others wait. A search gives the interpreter up at each call into Arrow, numba
and NumPy, dozens of times, and the event loop at each read and write. So while one has much to do, as when a crowd
connects, the other waits 5 ms for each of its small steps. With turns of 1 ms a search beside a busy thread ranks in
0.6 of the time (`benchmarks/interpreter.py`). Shorter ones gained no more.
"""

from __future__ import annotations

import sys

TURN_SECONDS = 0.001
"""What a thread may go on for while another waits."""


def share_interpreter() -> None:
    """Shorten the turns of this process's threads."""
    sys.setswitchinterval(TURN_SECONDS)
