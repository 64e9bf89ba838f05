"""The notebooks run from top to bottom, and are kept without what they print."""

import json

import pytest

from utils.files import PROJECT_DIR

NOTEBOOKS = sorted((PROJECT_DIR / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return request.param


def test_a_notebook_is_kept_without_outputs(notebook):
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"] and cell["execution_count"] is None, cell["source"]


@pytest.mark.slow
def test_a_notebook_runs(notebook, tmp_path):
    pytest.importorskip("ipykernel", reason="notebooks run with ipykernel and nbclient")
    nbclient = pytest.importorskip("nbclient", reason="notebooks run with ipykernel and nbclient")
    import nbformat

    content = nbformat.read(notebook, as_version=4)
    for cell in content.cells:  # the run goes to tmp_path
        save_dir = f'"trainer.save_dir": {str(tmp_path)!r}'
        cell.source = cell.source.replace('"trainer.epochs"', f'{save_dir}, "trainer.epochs"')
    resources = {"metadata": {"path": str(notebook.parent)}}
    nbclient.NotebookClient(content, timeout=300, resources=resources).execute()
    outputs = [one for cell in content.cells for one in cell.get("outputs", [])]
    text = "".join(one.get("text", "") for one in outputs)
    assert sum("image/png" in one.get("data", {}) for one in outputs) == 3
    assert [*tmp_path.glob("*/*/model_best.pth")] and "1000 right" in text
