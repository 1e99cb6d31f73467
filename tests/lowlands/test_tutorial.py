"""The tutorial does what it says, from its first cell to its last."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import matplotlib as mpl
import nbformat
import pytest

import lowlands
from lowlands.running import run

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.ipynb"


def test_the_cells_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, which spares a kernel and worker processes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lowlands, "run", functools.partial(run, engine="local:0"))
    monkeypatch.setitem(mpl.rcParams, "backend", "agg")
    notebook = nbformat.read(TUTORIAL, as_version=4)
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            exec(cell.source, names)
    assert names["results"].submissions == ["clipped"]
    assert {"clipped", "sgd"} <= {*names["everyone"].submissions}


@pytest.mark.slow
def test_the_notebook_runs_in_jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(TUTORIAL, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    assert any("<table>" in output["data"].get("text/html", "") for output in shown)
    assert (tmp_path / "tutorial-results" / "smoke.jsonl").is_file()
