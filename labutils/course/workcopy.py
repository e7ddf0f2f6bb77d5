"""The student's own copies of the notebooks, in work/, and JupyterLab on them: what `python -m labutils lab` does.

Git ignores work/, so an update of the lab never meets an answer. `--update` takes over the new version of a notebook
with the student's exercises and answers in it; his old file stays beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

from labutils.course import lab
from labutils.engine.paths import expanded

TAKEN = ".taken.json"  # of each copy: which version it was taken from, and that version's numbered cells


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which notebook to open; options that it does not know go to JupyterLab, as --port=8889."""
    parser.usage = f"{parser.prog} [-h] [--update] [--copy-only] [NOTEBOOK] [JUPYTERLAB'S OPTIONS, as --port=8889 ...]"
    parser.add_argument("notebook", nargs="?", default="01", help="such as 05 or 05_training (default: the first)")
    parser.add_argument("--copy-only", action="store_true", help="make or update the copies and open nothing")
    parser.add_argument("--update", action="store_true", help="take over new versions, with your answers in them")


def main(known: argparse.Namespace) -> int:
    """Make the copies that are missing, say which are older than the lab's, open JupyterLab."""
    try:
        if refusal := lab.not_here("lab"):
            raise ValueError(refusal)
        if not (known.copy_only or importlib.util.find_spec("jupyterlab")):
            raise ValueError("Not installed: jupyterlab. In the lab's folder: python -m pip install --editable .")
        (path,) = lab.find([known.notebook], lab.ROOT / "notebooks")
        for sentence in bring_up_to_date(folder(), known.update):
            print(sentence, flush=True)
    except (ValueError, OSError) as error:
        if getattr(error, "errno", None):
            raise
        print(error, file=sys.stderr)
        return 2
    if known.copy_only:
        print(f"Your copies are in {folder()}.")
        return 0
    inside = folder().is_relative_to(lab.ROOT)
    top = lab.ROOT if inside else folder()  # a link to ../README.md works too
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={top}", str(folder() / path.name)]
    command += known.passed_on
    if os.name == "nt":
        return subprocess.run(command, cwd=top).returncode
    os.chdir(top)
    os.execv(command[0], command)  # Ctrl-C is JupyterLab's then


def folder() -> Path:
    """Where the student's copies are: LABUTILS_WORK, or work/ at the top of the lab."""
    return expanded(os.environ.get("LABUTILS_WORK") or lab.ROOT / "work")


def bring_up_to_date(work: Path, update: bool, notebooks: Path | None = None) -> list[str]:
    """Copy to `work` what is missing there; with `update` take over new versions too. Returns what there is to say.

    Raises:
        OSError: the folder cannot be written; a sentence says so.
    """
    lab.check_writable(work)
    taken, said, made = _read_taken(work), [], []
    for path in sorted((notebooks or lab.ROOT / "notebooks").glob("*.ipynb")):
        copy, text = work / path.name, path.read_text("utf8")
        version = hashlib.sha256(text.encode()).hexdigest()
        known = taken.get(path.name, {})
        if not copy.exists():
            made.append(path.stem)
        elif known.get("version") == version:
            continue
        elif not update:
            said.append(f"{path.stem}: the lab has a new version. `python -m labutils lab --update` takes it over with "
                        "your answers in it, and keeps your file beside it.")  # fmt: skip
            continue
        else:
            try:
                text, kept = carried_over(copy.read_text("utf8"), text, known.get("cells", {}))
            except (ValueError, KeyError, TypeError, AttributeError):
                said.append(f"{copy} cannot be read as a notebook: repair it, or move it away and call this again.")
                continue
            mine = ", ".join(kept) or "answers, of which there were none"
            said.append(f"{path.stem}: new version, with your {mine}; "
                        f"your old file is {_put_aside(copy).name}.")  # fmt: skip
        _write(copy, text)
        taken[path.name] = {"version": version, "cells": _numbered(json.loads(path.read_text("utf8")))}
        _write(work / TAKEN, json.dumps(taken, ensure_ascii=False))
    return ([f"Copied to {work}: {', '.join(made)}."] if made else []) + said


def carried_over(mine: str, new: str, taken: dict[str, str]) -> tuple[str, list[str]]:
    """The notebook `new` with the numbered cells of `mine` that differ from what was `taken`; and their numbers."""
    mine, new = json.loads(mine), json.loads(new)
    pictures = {}  # pasted into an answer
    for cell in mine["cells"]:
        pictures.setdefault(_number(cell), {}).update(cell.get("attachments", {}))
    changed = {number: source for number, source in _numbered(mine).items() if taken.get(number) != source}
    kept = []
    for cell in new["cells"]:
        if (number := _number(cell)) in changed:
            cell["source"] = changed[number]
            cell |= {"attachments": pictures[number]} if pictures[number] else {}
            kept.append(number)
            if "outputs" in cell:
                cell["outputs"], cell["execution_count"] = [], None
    return json.dumps(new, ensure_ascii=False, indent=1) + "\n", kept


def _number(cell: dict) -> str | None:
    """Such as "exercise 5.1" or "question 5.3"; None for a cell that is not the student's."""
    kinds = [kind for kind in ("exercise", "question") if kind in cell["metadata"]]
    return f"{kinds[0]} {cell['metadata'][kinds[0]]}" if kinds else None


def _numbered(notebook: dict) -> dict[str, str]:
    """The sources of the student's cells, by number; the parts of a cell that was split are one again."""
    found = {}
    for cell in notebook["cells"]:
        if number := _number(cell):
            found.setdefault(number, []).append("".join(cell["source"]))
    return {number: "\n\n".join(parts) for number, parts in found.items()}


def _read_taken(work: Path) -> dict:
    try:
        taken = json.loads((work / TAKEN).read_text("utf8"))
        return taken if isinstance(taken, dict) else {}
    except (OSError, ValueError):
        return {}


def _put_aside(copy: Path) -> Path:
    """Rename the student's file to "05_training (mine).ipynb", or (mine 2), ... where that is there."""
    for i in range(1, 1000):
        aside = copy.with_name(f"{copy.stem} (mine{f' {i}' if i > 1 else ''}).ipynb")
        if not aside.exists():
            return copy.rename(aside)
    raise ValueError(f"{copy.parent} holds a thousand files like {aside.name}: delete some.")


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf8", newline="\n")
    partial.replace(path)
