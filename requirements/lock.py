"""Turn pip's resolution report (standard input) into a lock file: one exact version a line (standard output).

No hosts: the same versions install from whichever index a build has. The report names the files of one platform; `make
lock` adds the digests of all files of each version, so that pip refuses any other.
"""

from __future__ import annotations

import json
import sys


def pins(report: dict[str, list[dict[str, dict[str, str]]]]) -> list[str]:
    """``name==version`` of every distribution but our own, sorted. A local version (``+cpu``) is left to the build."""
    found = {entry["metadata"]["name"].lower(): entry["metadata"]["version"] for entry in report["install"]}
    return sorted(f"{name}=={found[name].partition('+')[0]}" for name in found if name != "lookalike")


if __name__ == "__main__":
    print(
        "# Written by `make lock`: every package of the image, at the version tested, with its files' digests."
    )
    print(*pins(json.load(sys.stdin)), sep="\n")
