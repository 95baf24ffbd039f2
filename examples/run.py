"""Run notebooks and store their outputs: python examples/run.py [NAME.ipynb ...], by default all of this folder.

Each runs in an empty folder, with a kernel of this Python and the commands of its environment. What belongs to one run
or machine is not stored: times, numbers of cells, versions.
"""

import os
import sys
import tempfile
from pathlib import Path

import nbclient
import nbformat
from nbformat import NotebookNode

HERE = Path(__file__).resolve().parent
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
CELL_SECONDS = 300  # on a busy machine


def executed(path: Path, folder: Path) -> NotebookNode:
    """The notebook with new outputs, run in the folder; CellExecutionError if a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    paths = f"{HERE.parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    resources = {"metadata": {"path": str(folder)}}
    client = nbclient.NotebookClient(notebook, timeout=CELL_SECONDS, resources=resources)
    client.execute(env=os.environ | {"PATH": commands, "PYTHONPATH": paths, "XLA_FLAGS": ""})
    return cleaned(notebook)


def cleaned(notebook: NotebookNode) -> NotebookNode:
    """The notebook with pictures and text alone; text that came in pieces is one output."""
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type != "code":
            continue
        cell.execution_count, outputs = None, []
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                png = {"image/png": output.data["image/png"].strip()}
                output = nbformat.v4.new_output("display_data", png)
            if outputs and output.output_type == outputs[-1].output_type == "stream":
                outputs[-1].text += output.text
            else:
                outputs.append(output)
        cell.outputs = outputs
    return notebook


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:] or sorted(HERE.glob("*.ipynb"))):
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(executed(path, Path(folder)), path)
        print(path.name)
