"""Build the images of this tree where the test cluster's program builds them, before a cluster is there.

    python -m local.images

The tests on a cluster find them built. That takes minutes, mostly of downloads, which other work can use meanwhile.
"""

from __future__ import annotations

import sys

from local.cluster import CLUSTER_TOOL, ClusterError, build_image, find_tool

TARGETS = ("search", "pipeline")


def main() -> int:
    """Build both; exit status 1 where that fails."""
    try:
        tool = find_tool(CLUSTER_TOOL)
        if tool is None:
            print(f"nothing to build with: set {CLUSTER_TOOL}")
            return 1
        for target in TARGETS:
            print(build_image(tool, target, "test"))
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
