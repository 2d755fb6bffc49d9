"""kubectl's kustomize, where it is recent enough to know components."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path


def missing() -> str | None:
    """Why kustomize cannot be used here, or None."""
    if shutil.which("kubectl") is None:
        return "no kubectl here"
    said = subprocess.run(["kubectl", "version", "--client"], capture_output=True, text=True, check=False)
    version = re.search(r"Kustomize Version: v(\d+)", said.stdout)
    if version is None or int(version[1]) < 4:
        return "the kubectl here is too old: its kustomize knows no components"
    return None


def build(folder: Path) -> str:
    """The manifests (YAML) of a kustomization. Fails where it cannot be built, or is of an older form."""
    made = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert "deprecated" not in made.stderr.lower(), made.stderr
    return made.stdout
