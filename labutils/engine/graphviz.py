"""Dot files as SVG, by whichever renderer is installed."""

import re
import shutil
import subprocess
import sysconfig
from collections.abc import Callable

TIMEOUT = 20.0  # seconds that a renderer may take; the largest graph of the lab takes less than one


def renderers() -> list[list[str]]:
    """The commands here that turn a dot file into SVG, first choice first."""
    beside = sysconfig.get_path("scripts")  # where pip puts commands; on PATH only where the environment is activated
    pure = shutil.which("graphviz-pure", path=beside) or shutil.which("graphviz-pure")
    return [[path] for path in (shutil.which("dot"), pure) if path]


def dot_source(make_dot: Callable, output, names: dict, show_saved: bool) -> str:
    """The dot file that torchviz's `make_dot` makes of a graph; ValueError if its saved tensors are gone."""
    try:
        dot = make_dot(output, names, show_saved=show_saved)
    except RuntimeError:
        why = "The tensors that the graph had saved are gone: backward() frees them"
        raise ValueError(f"{why}. Draw before it, or without show_saved.") from None
    dot.graph_attr = {"ranksep": "0.25", "nodesep": "0.1"}  # not torchviz's size, which shrinks the text
    dot.node_attr["fontname"] = "Courier"  # every renderer knows its width, not that of torchviz's "monospace"
    place = {}  # torchviz names a node by its address in memory; by its place, the same graph gives the same bytes
    renamed = r"(^\t| -> )(\d+)", lambda match: f"{match[1]}n{place.setdefault(match[2], len(place))}"
    dot.body = [re.sub(*renamed, line) for line in dot.body]
    return dot.source


def render(command: list[str], source: str) -> str:
    """The SVG, small and never wider than its column; without ids, which two graphs on a page would share."""
    done = subprocess.run([*command, "-Tsvg"], input=source.encode(), capture_output=True, timeout=TIMEOUT)
    svg = done.stdout.decode("utf-8", "replace")
    if done.returncode != 0 or "</svg>" not in svg:
        complaint = done.stderr.decode("utf-8", "replace").strip()[:200] or "no SVG came out"
        raise ValueError(f"exit code {done.returncode}, {complaint}")
    svg = re.sub(r'<!--.*?-->\n?| id="[^"]*"', "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'font-family="[^"]*"', 'font-family="monospace"', svg)  # as wide as Courier, and easier to read
    return svg.replace("<svg ", '<svg style="max-width: 100%; height: auto" ', 1)
