"""Execute one notebook in a kernel of its own, and keep of it what every reader can use."""

import asyncio
import base64
import codecs
import io
import itertools
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbclient.util import run_sync
from PIL import Image

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
WIDGET = "application/vnd.jupyter.widget-view+json"


@dataclass
class Executed:
    """A notebook after execution: its name, the notebook, the seconds it took; `error` is a sentence, or empty.

    `cells`: the seconds of each code cell that began.
    """

    name: str
    notebook: nbformat.NotebookNode
    seconds: float
    error: str = ""
    interrupted: bool = False
    cells: list[float] = field(default_factory=list)


def read(path: Path) -> nbformat.NotebookNode:
    """A notebook without the outputs of earlier executions.

    Raises:
        ValueError: the file is no notebook; the sentence names it.
    """
    if not path.is_file():
        raise ValueError(f"{path.name} is no regular file, so it is no notebook. Take it away.")
    content = b""
    try:
        content = path.read_bytes()
        notebook = nbformat.reads(content.decode("utf8"), as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.validate(notebook)
        nbformat.writes(notebook).encode("utf8")  # half a character, such as \ud800, cannot be
    except Exception as error:  # nbformat raises whatever it meets in a file that is not what it should be
        why = f"{type(error).__name__}: {error}".splitlines()[0][:150]
        if not (isinstance(error, OSError) or content.strip()):
            why = "it is empty"
        elif content.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            why = "it begins with a byte order mark; save it as UTF-8 without one"
        elif b"\n<<<<<<< " in b"\n" + content:
            why = "git left conflict markers in it"
        raise ValueError(f"{path.name} cannot be read as a notebook ({why}). Repair or restore it.") from error
    return notebook


def execute(
    path: Path, environment: dict[str, str], cell_timeout: int | None, tell: Callable[[str], None] = lambda line: None
) -> Executed:
    """Run one notebook in a fresh kernel of this Python, its folder being the working folder.

    Args:
        path: the notebook; it is not written to.
        environment: of the kernel.
        cell_timeout: seconds that one cell may take; None: any time.
        tell: called with a line when a cell begins.
    Returns:
        What was executed, with every output up to the cell that failed, if one did; without any cell if the file is
        no notebook.
    """
    try:
        notebook = read(path)
    except ValueError as refusal:
        return Executed(path.stem, nbformat.v4.new_notebook(), 0, str(refusal))
    code = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    start, position, begun = time.perf_counter(), "", []
    kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=_ThisPython())
    folder = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(notebook, km=kernel, timeout=cell_timeout, resources=folder, record_timing=False)
    client.coalesce_streams = True
    error, interrupted = "", False
    try:  # cell by cell: client.execute would take over SIGINT and SIGTERM, which end its kernel and not this process
        with client.setup_kernel(env=environment, cleanup_kc=True, stderr=subprocess.DEVNULL):  # the kernel's own log
            try:
                for number, i in enumerate(code, 1):
                    begun.append(time.perf_counter())
                    position = f"cell {number} of {len(code)}"
                    tell(f"{path.stem}: {position}, {begun[-1] - start:.0f} s so far")
                    client.execute_cell(notebook.cells[i], i)
            finally:
                run_sync(_nothing_left)()
    except (Exception, KeyboardInterrupt) as failure:  # ends this notebook, and none of the others
        error = f"{path.stem}: {_sentence(failure, position, cell_timeout)}"
        interrupted = isinstance(failure, KeyboardInterrupt)
    end = time.perf_counter()
    cells = [later - earlier for earlier, later in itertools.pairwise([*begun, end])]
    tidy(notebook)
    return Executed(path.stem, notebook, end - start, error, interrupted, cells)


async def _nothing_left() -> None:
    """End what nbclient leaves waiting for the kernel where a cell was stopped."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _sentence(failure: BaseException, position: str, cell_timeout: int | None) -> str:
    if isinstance(failure, CellExecutionError):
        return f"{position} raised {failure.ename}: {failure.evalue}"
    if isinstance(failure, CellTimeoutError):
        return f"{position} was stopped after {cell_timeout} s; --cell-timeout allows more."
    if isinstance(failure, DeadKernelError):
        return f"the kernel died in {position}, most often for want of memory: close other programs and try again."
    if isinstance(failure, KeyboardInterrupt):
        return f"Ctrl-C in {position}"
    what = f"{position} could not go on" if position else "no kernel would start"
    return f"{what} ({type(failure).__name__}: {failure}); `python -m labutils doctor` says what is missing."


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Drop in place what only a running kernel can use or what differs between two executions.

    Of a widget its text or picture stays, of a progress bar nothing; addresses in memory go. The metadata of the
    notebook become those of any.
    """
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNELSPEC, "language_info": {"name": "python"}})
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if output.get("data", {}).pop(WIDGET, None) and "%|" in output.data.get("text/plain", ""):
                output.data.clear()  # tqdm's bar as it was at the start
            if isinstance(picture := output.get("data", {}).get("image/png"), str):
                output.data["image/png"] = _smaller(picture)
            for texts, key in ((output, "text"), (output.get("data", {}), "text/plain")):
                if isinstance(texts.get(key), str):
                    texts[key] = re.sub(r"\bat 0x[0-9a-fA-F]+", "at 0x...", texts[key])
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("data", True)]


def _smaller(picture: str) -> str:
    """The same pixels in fewer bytes: grey where all are grey, without an alpha channel where all are opaque."""
    content, out = base64.b64decode(picture), io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:
        if image.mode != "RGBA" or image.getchannel("A").getextrema() != (255, 255):
            return picture
        red, green, blue, _ = image.split()
        grey = red.tobytes() == green.tobytes() == blue.tobytes()
        (red if grey else image.convert("RGB")).save(out, "PNG", optimize=True)
    return picture if len(out.getvalue()) >= len(content) else base64.b64encode(out.getvalue()).decode()


def write(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook, whole or not at all."""
    write_text(nbformat.writes(notebook), path)


def write_text(text: str, path: Path) -> None:
    """Whole or not at all, with the same line ends on each system; half a character is written as its number."""
    partial = path.with_name(path.name + ".partial")
    text = text if text.endswith("\n") else text + "\n"
    partial.write_text(text, encoding="utf8", errors="backslashreplace", newline="\n")
    partial.replace(path)


class _ThisPython(KernelSpecManager):
    """Starts the kernel with the Python that runs this, whatever kernel a user's Jupyter calls python3."""

    def get_kernel_spec(self, kernel_name):
        return self.kernel_spec_class(resource_dir=RESOURCES, **get_kernel_dict())
