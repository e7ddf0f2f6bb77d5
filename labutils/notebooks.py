"""Execute the notebooks in order and gather them in build/report.html: what `python -m labutils run` does."""

import asyncio
import contextlib
import html
import importlib.metadata
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jinja2 import pass_context
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from math_core import LatexError, LatexToMathML
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

ROOT = Path(__file__).parents[1]
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
WIDGET = "application/vnd.jupyter.widget-view+json"


@dataclass
class Executed:
    """A notebook after execution: its name, the notebook, the seconds it took; `error` is a sentence, or empty."""

    name: str
    notebook: nbformat.NotebookNode
    seconds: float
    error: str = ""
    interrupted: bool = False


def find(names: Sequence[str], folder: Path) -> list[Path]:
    """The notebooks of `folder` in order, or those that `names` begin: "05", "05_training", "05_training.ipynb".

    Raises:
        ValueError: a name fits none of them or several; the sentence lists what there is.
    """
    paths = sorted(folder.glob("*.ipynb"))
    if not names and paths:
        return paths
    chosen = set()
    for name in names or [""]:
        fitting = [path for path in paths if path.stem.startswith(Path(name).name.removesuffix(".ipynb"))]
        if len(fitting) != 1:
            there = ", ".join(path.stem for path in paths) or "none"
            raise ValueError(f"{name!r} fits {len(fitting)} notebooks of {folder}; name one of: {there}.")
        chosen.update(fitting)
    return sorted(chosen)


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
        What was executed, with every output up to the cell that failed, if one did.
    """
    notebook = nbformat.read(path, as_version=4)
    code = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    start, position = time.perf_counter(), ""

    def begin(cell, cell_index):
        nonlocal position
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)  # nbclient's: it makes Ctrl-C a dead kernel
        if cell_index in code:
            position = f"cell {code.index(cell_index) + 1} of {len(code)}"
            tell(f"{path.stem}: {position}, {time.perf_counter() - start:.0f} s so far")

    for i in code:
        notebook.cells[i].outputs, notebook.cells[i].execution_count = [], None
    kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=_ThisPython())
    folder = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(notebook, km=kernel, timeout=cell_timeout, resources=folder, record_timing=False)
    client.coalesce_streams = True
    client.on_cell_start = begin
    error, interrupted = "", False
    try:
        client.execute(env=environment, cleanup_kc=True, stderr=subprocess.DEVNULL)  # the kernel's own log
    except CellExecutionError as failure:
        error = f"{position} raised {failure.ename}: {failure.evalue}"
    except CellTimeoutError:
        error = f"{position} was stopped after {cell_timeout} s; --cell-timeout allows more."
    except DeadKernelError:
        error = f"the kernel died in {position}, most often for want of memory: close other programs and try again."
    except KeyboardInterrupt:
        error, interrupted = f"Ctrl-C in {position}", True
    except (RuntimeError, OSError) as failure:
        error = f"no kernel would start ({failure}); `python -m labutils doctor` says what is missing."
    tidy(notebook)
    error = error and f"{path.stem}: {error}"
    return Executed(path.stem, notebook, time.perf_counter() - start, error, interrupted)


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
            for texts, key in ((output, "text"), (output.get("data", {}), "text/plain")):
                if key in texts:
                    texts[key] = re.sub(r"\bat 0x[0-9a-fA-F]+", "at 0x...", texts[key])
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("data", True)]


def report(executed: Sequence[Executed], title: str, note: str) -> tuple[str, list[str]]:
    """One HTML page that holds all notebooks, their figures and formulas, and asks no host for anything.

    Returns:
        The page, and the formulas (TeX) that could not be turned into MathML; the page shows those as TeX.
    """
    exporter = _Exporter(template_name="basic", embed_images=True, exclude_anchor_links=True)
    exporter.log.setLevel("ERROR")  # it warns of each figure without a text in its place
    sections, contents = [], []
    for each in executed:
        heading = next((line for cell in each.notebook.cells for line in cell.source.splitlines() if line), each.name)
        minutes = f"{each.seconds / 60:.1f} min" + (", not finished" if each.error else "")
        contents.append(f'<li><a href="#{each.name}">{html.escape(heading.strip("# "))}</a> ({minutes})</li>')
        body, _ = exporter.from_notebook_node(each.notebook)
        error = f'<p class="failed">{html.escape(each.error)}</p>' if each.error else ""
        sections.append(f'<section id="{each.name}">\n{body}\n{error}</section>')
    page = PAGE.format(
        title=html.escape(title),
        note=html.escape(note),
        contents="\n".join(contents),
        sections="\n".join(sections),
        highlight=HtmlFormatter().get_style_defs(".highlight"),
    )
    return page, exporter.unset_formulas


def run(
    names: Sequence[str] = (),
    preset: str = "quick",
    update: bool = False,
    cell_timeout: int | None = None,
    root: Path = ROOT,
) -> int:
    """Execute notebooks, write build/notebooks/ and build/report.html below `root`, say how it went.

    A failing notebook does not keep the next from running. `update` writes those that did not fail back to notebooks/.

    Returns:
        0, or 1 where a notebook failed, or 130 after Ctrl-C; what had been executed is kept in each case.
    Raises:
        ValueError: see `find`.
    """
    paths, build = find(names, root / "notebooks"), root / "build"
    (build / "notebooks").mkdir(parents=True, exist_ok=True)
    environment = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}  # figures go in the notebook
    if not environment.get("LABUTILS_RUNS"):
        shutil.rmtree(build / "runs", ignore_errors=True)  # each time as if for the first time
        environment["LABUTILS_RUNS"] = str(build / "runs")
    for name in ("LABUTILS_RUNS", "LABUTILS_DATA"):  # the kernels work in another folder than the caller
        if environment.get(name):
            environment[name] = str(Path(environment[name]).expanduser().absolute())
    environment["LABUTILS_PRESET"] = preset
    executed, start = [], time.perf_counter()
    for number, path in enumerate(paths, 1):
        line = _Line(f"[{number}/{len(paths)}] ")
        done = execute(path, environment, cell_timeout, line.show)
        line.end(done.error or f"{path.stem}: {_spell(done.seconds)}")
        executed.append(done)
        _write(build / "notebooks" / path.name, nbformat.writes(done.notebook))
        if update and not done.error:
            _write(path, nbformat.writes(done.notebook))
        if done.interrupted:
            break
    versions = f"Python {platform.python_version()}, PyTorch {importlib.metadata.version('torch')}"
    page, unset = report(executed, "The GAN lab", f"Preset {preset}; {versions}; {time.strftime('%Y-%m-%d')}.")
    _write(build / "report.html", page)
    failed = [each.error for each in executed if each.error]
    took = _spell(time.perf_counter() - start)
    print(f"\n{len(executed) - len(failed)} of {len(paths)} notebooks without error in {took}, preset {preset}.")
    for error in failed:
        print(f"Failed: {error}")
    for formula in unset:
        print(f"A formula is shown as TeX in the report: {formula}")
    print(f"Report, to open in a browser: {build / 'report.html'}")
    print(f"Executed notebooks:           {build / 'notebooks'}")
    if Path(environment["LABUTILS_RUNS"]).is_dir():
        print(f"Trained networks:             {environment['LABUTILS_RUNS']}")
    return 130 if executed[-1].interrupted else int(bool(failed))


class _ThisPython(KernelSpecManager):
    """Starts the kernel with the Python that runs this, whatever kernel a user's Jupyter calls python3."""

    def get_kernel_spec(self, kernel_name):
        return self.kernel_spec_class(resource_dir=RESOURCES, **get_kernel_dict())


class _Line:
    """One line of progress: rewritten in place on a terminal; elsewhere only its end is printed."""

    def __init__(self, prefix: str):
        self.prefix, self.width = prefix, 0

    def show(self, text: str) -> None:
        if sys.stdout.isatty():
            print(f"\r{self.prefix}{text}".ljust(self.width), end="", flush=True)
            self.width = len(self.prefix + text) + 1

    def end(self, text: str) -> None:
        start = "\r" if sys.stdout.isatty() else ""
        print(f"{start}{self.prefix}{text}".ljust(self.width), flush=True)


def _spell(seconds: float) -> str:
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s" if seconds >= 60 else f"{seconds:.0f} s"


def _write(path: Path, text: str) -> None:
    """Whole or not at all, with the same line ends on each system."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text if text.endswith("\n") else text + "\n", encoding="utf8", newline="\n")
    partial.replace(path)


class _Exporter(HTMLExporter):
    """Notebook to HTML with formulas as MathML, which browsers show by themselves."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.unset_formulas = []

    @pass_context
    def markdown2html(self, context, source):
        attachments = context.get("cell", {}).get("attachments", {})
        renderer = _Renderer(escape=False, attachments=attachments, exclude_anchor_links=self.exclude_anchor_links)
        renderer.unset = self.unset_formulas
        return MarkdownWithMath(renderer=renderer).render(source)


class _Renderer(IPythonRenderer):
    def inline_math(self, body):
        return self._mathml(body, displaystyle=False)

    def block_math(self, body):
        return self._mathml(body, displaystyle=True)

    def latex_environment(self, name, body):
        return self._mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", displaystyle=True)

    def _mathml(self, tex, displaystyle):
        try:
            return LatexToMathML(fancy_error=False).convert_with_local_state(tex, displaystyle=displaystyle)
        except LatexError:
            self.unset.append(tex.strip())
            return f"<code>{html.escape(tex)}</code>"


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ max-width: 66rem; margin: auto; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif; color: #222 }}
section {{ border-top: 3px solid #888; margin-top: 3rem }}
pre, code {{ font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 0.85rem }}
pre {{ margin: 0; overflow-x: auto; line-height: 1.4 }}
.input_area {{ background: #f5f5f5; border: 1px solid #ddd; padding: 0.5rem; margin-top: 0.8rem }}
.output {{ padding: 0.4rem 0.5rem; overflow-x: auto }}
.prompt {{ display: none }}
img, svg {{ max-width: 100%; height: auto }}
table {{ border-collapse: collapse; margin: 0.8rem 0 }}
td, th {{ border: 1px solid #ccc; padding: 0.2rem 0.6rem; text-align: left }}
math {{ font-family: "Cambria Math", "STIX Two Math", "Latin Modern Math", "DejaVu Math TeX Gyre", math }}
math[display=block] {{ margin: 0.8rem 0 }}
.failed {{ background: #fbe3e4; padding: 0.5rem }}
{highlight}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{note}</p>
<ol>
{contents}
</ol>
{sections}
</body>
</html>
"""
