"""Execute the notebooks in order and gather them in build/lab.html: what `python -m labutils run` does."""

from __future__ import annotations

import argparse
import csv
import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from labutils.engine.paths import expanded
from labutils.presets import PRESETS, preset_name

ROOT = Path(__file__).parents[2]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which notebooks, how large, how long."""
    parser.add_argument("notebook", nargs="*", help="such as 05 or 05_training; all, if none is named")
    parser.add_argument("--preset", choices=PRESETS, help="sizes (default: LABUTILS_PRESET, or else quick)")
    parser.add_argument("--update", action="store_true", help="also write the executed notebooks back to notebooks/")
    parser.add_argument(
        "--cell-timeout", type=int, metavar="S", help="stop a cell after S seconds (default: 3600; full: none)"
    )


def main(known: argparse.Namespace) -> int:
    """Execute what is asked for; 2 with a sentence where that cannot be begun, else as `execute_all` says."""
    seconds, refusal = known.cell_timeout, not_here("run")
    if seconds is not None and seconds < 1:
        refusal = f"--cell-timeout is {seconds}; expected a whole number of seconds, at least 1."
    try:
        preset = known.preset or preset_name()
        if not refusal:
            return execute_all(known.notebook, preset, known.update, seconds or (None if preset == "full" else 3600))
    except (ValueError, OSError) as error:
        if getattr(error, "errno", None):  # the system's own words: the command line makes a sentence of them
            raise
        refusal = str(error)
    print(refusal, file=sys.stderr)
    return 2


def not_here(command: str) -> str:
    """A sentence if this labutils was installed without the lab's folder, which `command` needs; else nothing."""
    missing = [name for name in ("notebooks", "tests", "pyproject.toml") if not (ROOT / name).exists()]
    return missing and (
        f"There is no {' and no '.join(missing)} beside this labutils ({ROOT / 'labutils'}): it was installed "
        f"without the lab's folder. Call `python -m labutils {command}` in a clone of the lab."
    )


def find(names: Sequence[str], folder: Path) -> list[Path]:
    """The notebooks of `folder` in order, or those of these `names`: "05_training", "05_training.ipynb", or "05".

    Raises:
        ValueError: a name is that of none and begins none of them, or several; the sentence lists what there is.
    """
    paths = sorted(folder.glob("*.ipynb"), key=lambda path: path.stem)
    if not names and paths:
        return paths
    chosen = []
    for name in names or [""]:
        stem = Path(name).name.removesuffix(".ipynb")
        fitting = [path for path in paths if path.stem == stem] or [p for p in paths if p.stem.startswith(stem)]
        if len(fitting) != 1:
            there = ", ".join(path.stem for path in paths) or "none"
            raise ValueError(f"{name!r} fits {len(fitting)} notebooks of {folder}; name one of: {there}.")
        chosen += fitting
    return [path for path in paths if path in chosen]


def execute_all(
    names: Sequence[str] = (),
    preset: str = "quick",
    update: bool = False,
    cell_timeout: int | None = None,
    root: Path = ROOT,
) -> int:
    """Execute notebooks, write build/notebooks/ and build/lab.html below `root`, say how it went.

    A failing notebook does not keep the next from running. `update` writes those that did not fail back to notebooks/.

    Returns:
        0, or 1 where a notebook failed, or 130 after Ctrl-C; what had been executed is kept in each case.
    Raises:
        ValueError: see `find`.
        OSError: build/ cannot be written; found before anything is executed.
    """
    from labutils.course import minutes, notebooks, page  # seconds, which --help need not wait for

    paths, build = find(names, root / "notebooks"), _build_folder(root)
    environment = _environment(preset, build)
    if sentence := minutes.predicted(paths, preset, environment):
        print(sentence, flush=True)
    executed, start = [], time.perf_counter()
    for number, path in enumerate(paths, 1):
        line = _ProgressLine(f"[{number}/{len(paths)}] ")
        done = notebooks.execute(path, environment, cell_timeout, line.show)
        line.end(done.error or f"{path.stem}: {_duration(done.seconds)}")
        executed.append(done)
        notebooks.write(done.notebook, build / "notebooks" / path.name)
        _write_seconds(executed, build / "seconds.csv")
        if update and not done.error:
            notebooks.write(done.notebook, path)
        if done.interrupted:
            break
    versions = f"Python {platform.python_version()}, PyTorch {importlib.metadata.version('torch')}"
    note = f"Preset {preset}; {versions}; {time.strftime('%Y-%m-%d')}."
    html, remarks = page.lab_page(executed, root / "notebooks", "The GAN lab", note)
    notebooks.write_text(html, build / "lab.html")
    failed = [each.error for each in executed if each.error]
    took = _duration(time.perf_counter() - start)
    print(f"\n{len(executed) - len(failed)} of {len(paths)} notebooks without error in {took}, preset {preset}.")
    _say(failed, remarks, build, Path(environment["LABUTILS_RUNS"]))
    return 130 if executed[-1].interrupted else int(bool(failed))


def _say(failed: list[str], remarks: list[str], build: Path, runs: Path) -> None:
    for error in failed:
        print(f"Failed: {error}")
    for remark in remarks:
        print(f"In the lab's page: {remark}")
    print(f"The lab's page, for a browser: {build / 'lab.html'}")
    print(f"Executed notebooks:            {build / 'notebooks'}")
    print(f"Seconds of each cell:          {build / 'seconds.csv'}")
    if runs.is_dir():
        print(f"Trained networks:              {runs}")


def _write_seconds(executed: Sequence, path: Path) -> None:
    """A line for each code cell that has run: its notebook, its number there, its seconds."""
    with path.open("w", encoding="utf8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["notebook", "cell", "seconds"])
        for done in executed:
            lines.writerows([done.name, number, f"{seconds:.2f}"] for number, seconds in enumerate(done.cells, 1))


def _build_folder(root: Path) -> Path:
    build = root / "build"
    check_writable(build)
    check_writable(build / "notebooks")
    return build


def check_writable(folder: Path) -> None:
    """Make a folder if it is not there; OSError with a sentence if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        why = error.strerror or error
        raise OSError(f"{folder} cannot be written ({why}): work in a copy of the lab that is your own.") from error


def _environment(preset: str, build: Path) -> dict[str, str]:
    """Of the kernels, which work in another folder than the caller; runs begin anew unless he says where they are."""
    environment = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}  # figures go in the notebook
    if not environment.get("LABUTILS_RUNS"):
        shutil.rmtree(build / "runs", ignore_errors=True)  # each time as if for the first time
        environment["LABUTILS_RUNS"] = str(build / "runs")
        environment.setdefault("LABUTILS_REPORT", str(build / "report"))
    for name in ("LABUTILS_RUNS", "LABUTILS_DATA"):
        if environment.get(name):
            environment[name] = str(expanded(environment[name]))
    return environment | {"LABUTILS_PRESET": preset}


class _ProgressLine:
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


def _duration(seconds: float) -> str:
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s" if seconds >= 60 else f"{seconds:.0f} s"
