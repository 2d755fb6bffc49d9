"""A program for `test_sharing`: take one part of a plan, and be killed by SIGKILL right after a write to the store.

Arguments: store, how to talk to S3 (JSON), catalogue, cache, plan, part, parts, and the number of that write.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from lookalike.catalogue.sharing import curate_part
from lookalike.settings import S3Settings
from lookalike.storage.stores import open_store
from tests.catalogue.test_sharing import CONFIG


def main(uri: str, s3: str, catalogue: str, cache: str, plan: str, part: str, parts: str, last: str) -> None:
    settings = S3Settings(**json.loads(s3))
    store, left = open_store(uri, settings), int(last)

    def dying(write: Any) -> Any:
        def one(*given: Any, **more: Any) -> Any:
            nonlocal left
            done = write(*given, **more)
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        return one

    for name in ("put", "upload"):
        setattr(store, name, dying(getattr(store, name)))
    curate_part(store, catalogue, plan, int(part), int(parts), CONFIG, s3=settings, cache_dir=Path(cache))


if __name__ == "__main__":
    main(*sys.argv[1:])
