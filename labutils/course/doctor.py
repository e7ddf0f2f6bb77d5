"""Is this machine ready for the lab, what to do where it is not, and how many minutes will training take.

Only the standard library is imported at the top, so that the doctor can speak where everything else is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import functools
import html
import importlib
import importlib.metadata
import importlib.util
import io
import math
import os
import platform
import shutil
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

OLDEST_PYTHON = (3, 11)  # as in pyproject.toml: where Python is older, labutils cannot be installed and has no metadata
MEMORY = 1.5e9  # bytes that a training takes at most, PyTorch included
RUN_SIZE = 120e6  # bytes on disk of a run of the MLP, the larger one, while its state is replaced
INSTALL = "In the lab's folder: python -m pip install --editable . (then restart the kernel)"
REPAIR_OTHERS = "Repair what is missing in the other rows and run the doctor again; if nothing is, ask with this line."
STOP_OTHERS = "Stop what can wait: other programs, other notebooks. Training takes one thread where that is faster."


class Finding(NamedTuple):
    """What was found of one part; state "ok", "warn" (the lab works, but) or "missing" (it does not work)."""

    name: str
    state: str
    found: str
    do: str = ""


class Checkup(list):
    """The findings of the doctor: a table in a notebook, aligned text in `print`."""

    @property
    def ready(self) -> bool:
        """Whether all that the lab cannot do without is there."""
        return all(finding.state != "missing" for finding in self)

    def __str__(self) -> str:
        width = max(60, shutil.get_terminal_size((110, 24)).columns - 1)
        lines = []
        for name, state, found, do in self:
            start = f"{name:12}  {state:7}  "
            for first, text in ((start, found), (" " * len(start) + "-> ", do)):
                lines += textwrap.wrap(text, width, initial_indent=first, subsequent_indent=" " * len(first))
        return "\n".join([*lines, f"This machine is {'' if self.ready else 'not '}ready."])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        colours = {"ok": "#d8ecd8", "warn": "#fff0c2", "missing": "#f8d0c8"}
        lines = ["<tr><th>part</th><th>state</th><th>found</th><th>what to do</th></tr>"]
        for finding in self:
            cells = "".join(f'<td style="text-align: left">{html.escape(text)}</td>' for text in finding)
            lines.append(f'<tr style="background: {colours[finding.state]}; color: black">{cells}</tr>')
        return f"<table>{''.join(lines)}</table><p>This machine is {'' if self.ready else 'not '}ready.</p>"


def examine(seconds: float = 3.0) -> Checkup:
    """Look at this machine and measure its training speed for about `seconds`; what is missing becomes a finding."""
    _torch_problem.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries looked at; a finding says what matters
        of_python = [("Python", _python, True), ("Packages", _packages, True), ("Device", _device, True)]
        of_machine = [("Processor", _processor), ("Memory", _memory), ("Runs folder", _runs_folder, True)]
        of_lab = [("Data", _data, True), ("Graphs", _graphs), ("Widgets", _widgets, True), ("Chinese font", _font)]
        minutes = ("Minutes", functools.partial(_minutes, seconds))
        return Checkup([_finding(*part) for part in (*of_python, *of_machine, *of_lab, minutes)])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The doctor needs none."""


def main(known: argparse.Namespace) -> int:
    """`python -m labutils doctor`: print the checkup; 0 if the machine is ready, else 1."""
    print("Looking at this machine, about 10 seconds ...", flush=True)
    checkup = examine()
    print(checkup)
    return 0 if checkup.ready else 1


def predict_minutes(seconds: float = 3.0) -> dict[str, dict[str, float]]:
    """Minutes of training by preset and model, {"quick": {"mlp": ..., "dcgan": ...}, ...}, at this moment's load.

    `train` itself is timed, for about `seconds`, in a folder that is deleted afterwards.
    """
    training, presets, costs, minutes = _lab("training"), _lab("presets").PRESETS, {}, {}
    there = len(_lab("data").load_mnist().labels)
    for model, steps in (("mlp", 8), ("dcgan", 3)):
        steps = steps if _lab("engine.machine").choose_device().type == "cpu" else 40  # a GPU's first ones are slow
        few = training.TrainConfig(model=model, images=min(128 * steps, there))
        folder = _lab("runs").runs_folder()
        costs[model] = _lab("engine.clock").training_cost(training.train, few, folder, seconds / 2)
    for preset, sizes in presets.items():
        minutes[preset] = {}
        for model, (once, step, epoch) in costs.items():
            config = training.TrainConfig(model=model, **sizes[model])
            steps = math.ceil(min(config.images or there, there) / config.batch_size)
            minutes[preset][model] = (once + config.epochs * (steps * step + epoch)) / 60
    return minutes


def _finding(name: str, check: Callable[[], tuple[str, ...]], essential: bool = False) -> Finding:
    """What `check` found, which returns (state, found[, what to do]); an exception is a finding too."""
    try:
        return Finding(name, *check())
    except Exception as error:
        state = "missing" if essential else "warn"
        if type(error).__module__.startswith("labutils"):  # DataError, RunError: they say it all
            return Finding(name, state, str(error))
        do = INSTALL if isinstance(error, ImportError) else REPAIR_OTHERS
        return Finding(name, state, f"Cannot be checked: {_in_one_line(error)}", do)


def _in_one_line(error: Exception) -> str:
    return textwrap.shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")


@functools.cache
def _torch_problem() -> str:
    """Why PyTorch cannot be imported, or "". Tried once: a second try after half an import misleads."""
    try:
        importlib.import_module("torch")
    except Exception as error:
        return _in_one_line(error)
    return ""


def _lab(module: str):
    """labutils.<module>, all of which need PyTorch."""
    if _torch_problem():
        hint = "; on Windows it needs Microsoft's Visual C++ runtime" if "WinError" in _torch_problem() else ""
        raise ImportError(f"PyTorch cannot be imported ({_torch_problem()}{hint})")
    return importlib.import_module(f"labutils.{module}")


def _python():
    if sys.version_info[:2] < OLDEST_PYTHON:
        needed = ".".join(map(str, OLDEST_PYTHON))
        return "missing", f"{platform.python_version()}, too old", f"Install Python {needed} or newer."
    return "ok", f"{platform.python_version()} in {sys.prefix}"


def _packages():
    try:
        lines = importlib.metadata.requires("labutils") or []
    except importlib.metadata.PackageNotFoundError:
        return "missing", "labutils is not installed, so what it needs is not known here", INSTALL
    requirements = importlib.import_module("packaging.requirements")
    good, bad, wanted = [], [], []
    for need in map(requirements.Requirement, lines):
        if need.marker and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            version = None
        if version and need.specifier.contains(version, prereleases=True):
            good.append(f"{need.name} {version}")
        else:
            bad.append(f"{need.name} is {version or 'missing'}, needed {need.specifier}")
            wanted.append(f'"{need.name}{need.specifier}"')
    if bad:
        return "missing", "; ".join(bad), f"python -m pip install {' '.join(wanted)} (then restart the kernel)"
    return "ok", ", ".join(good)


def _device():
    machine = _lab("engine.machine")
    device = machine.choose_device()
    precision, why = machine.choose_precision("auto", device)
    return "ok", f"{device.type}, {precision} ({why})"


def _processor():
    cores = importlib.import_module("labutils.engine.clock").processors()
    threads = "" if _torch_problem() else f", PyTorch's threads: {sys.modules['torch'].get_num_threads()}"
    found = f"{platform.machine()}, cores: {cores}{threads}; busy in the last minute: "
    if not hasattr(os, "getloadavg"):
        return "ok", f"{found}unknown on this system"
    load = os.getloadavg()[0]  # this process's own work is in it
    return ("warn", f"{found}{load:.1f}", STOP_OTHERS) if load > cores / 3 else ("ok", f"{found}{load:.1f}")


def _memory():
    free, kind = _free_memory()
    if free is None:
        return "warn", f"unknown on this system; a training takes up to {MEMORY / 1e9:g} GB"
    found = f"{free / 1e9:.1f} GB {kind}; a training takes up to {MEMORY / 1e9:g} GB"
    return ("ok", found) if free >= MEMORY else ("warn", found, "Close other programs and other notebooks' kernels.")


def _free_memory() -> tuple[float | None, str]:
    """Bytes and what they are: "free", or "in all" where the system does not say how much is free."""
    with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):  # Linux
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
        with contextlib.suppress(OSError, ValueError):  # a container's limit; "max" is no number
            free = min(free, int(Path("/sys/fs/cgroup/memory.max").read_text()))
        return free, "free"
    with contextlib.suppress(AttributeError, OSError, ValueError):  # macOS
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "in all"
    with contextlib.suppress(AttributeError, OSError):  # Windows: MEMORYSTATUSEX, its size first, free bytes at 16
        status = ctypes.create_string_buffer((64).to_bytes(4, "little"), 64)
        if ctypes.windll.kernel32.GlobalMemoryStatusEx(status):
            return int.from_bytes(status.raw[16:24], "little"), "free"
    return None, ""


def _runs_folder():
    folder = _lab("runs").runs_folder().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
        free = shutil.disk_usage(folder).free
    except OSError as error:
        found = f"{folder} cannot be written ({error.strerror or error})"
        return "missing", found, "Set LABUTILS_RUNS to a folder of your own."
    found = f"{folder} can be written, {free / 1e9:.1f} GB free; a run takes up to {RUN_SIZE / 1e6:g} MB"
    if free >= 10 * RUN_SIZE:
        return "ok", found
    return "missing" if free < RUN_SIZE else "warn", found, "Free some space, or set LABUTILS_RUNS to another disk."


def _data():
    data = _lab("data")
    train, test = (len(data.load_mnist(split).labels) for split in ("train", "test"))
    root = os.environ.get("LABUTILS_DATA")
    source = f"in {root} (LABUTILS_DATA), not checked by SHA-256" if root else "in the package, SHA-256 checked"
    return "ok", f"{train:,} training and {test:,} test images {source}"


def _graphs():
    graphs, said = _lab("graphs"), io.StringIO()
    with contextlib.redirect_stdout(said):
        graph = graphs.draw(sys.modules["torch"].ones(1, requires_grad=True).sum())
    complaints = " ".join(said.getvalue().split())
    if not graph.svg:
        found = f"Graphs appear as tables only. {complaints}"
        return "warn", found, "Install Graphviz, or: python -m pip install graphviz-pure torchviz setuptools"
    return "ok", f"drawn by torchviz and {Path(graphs.renderers()[-1 if complaints else 0][0]).stem}"


def _widgets():
    found = f"ipywidgets {importlib.import_module('ipywidgets').__version__} can be imported"
    if importlib.util.find_spec("jupyterlab_widgets") is None:
        return "warn", f"{found}, but jupyterlab_widgets, which draws them in JupyterLab, is missing", INSTALL
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    notebook = type(shell).__name__ == "ZMQInteractiveShell"
    who = "this kernel cannot tell whether the front end draws them" if notebook else "no front end on a command line"
    return "ok", f"{found}; {who}", "To see: `import ipywidgets; ipywidgets.IntSlider()` in a cell shows a slider."


def _font():
    importlib.import_module("matplotlib")
    name = _lab("engine.fonts").use_cjk()
    return ("ok", f"{name}, which figures fall back to") if name else ("warn", "none", _lab("engine.fonts").INSTALL)


def _minutes(seconds: float):
    minutes, parts = predict_minutes(seconds), []
    for preset, of in minutes.items():
        mlp, dcgan, total = (f"{m:.0f}" if m >= 10 else f"{m:.2g}" for m in (of["mlp"], of["dcgan"], sum(of.values())))
        parts.append(f"{preset} {total} ({mlp} + {dcgan})")
    found = (
        f"{', '.join(parts)}: training of the MLP (notebook 05) + the DCGAN (06), measured in {seconds:g} s at this "
        "moment's load, which can change it several times over; the rest of the notebooks is not in it"
    )
    slow = sum(minutes["quick"].values()) > 20
    return ("warn", found, f"{STOP_OTHERS} For a first look: LABUTILS_PRESET=smoke.") if slow else ("ok", found)
