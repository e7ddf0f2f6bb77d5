"""Cells run again and out of order: no notebook may fail or contradict itself then, nor once it is solved."""

import copy
import os

import nbformat
import pytest
from exercises.solved import numbers, solved
from test_notebooks import NOTEBOOKS

from labutils.course.notebooks import execute


def shown(cell) -> str:
    """All that a cell shows as text."""
    outputs = cell.get("outputs", [])
    return "".join(out.get("text", "") + str(out.get("data", {}).get("text/plain", "")) for out in outputs)


def is_compared(cell) -> bool:
    """Whether this cell promises the same output on each system, by the tag that nbval reads."""
    return "nbval-check-output" in cell.metadata.get("tags", []) or cell.source.startswith("# NBVAL_CHECK_OUTPUT")


def run(notebook, cells: list, folder, name: str):
    """The cells, executed one after the other in one kernel with the smoke preset."""
    notebook = nbformat.from_dict({**notebook, "cells": copy.deepcopy(cells)})
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{i}"
    path = folder / f"{name}.ipynb"
    nbformat.write(notebook, path)
    cheap = {
        "LABUTILS_PRESET": "smoke",
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
    }  # agg: no figure becomes a picture
    done = execute(path, os.environ | cheap, 300)
    assert not done.error
    return done.notebook.cells


def contradictions(committed: list, executed: list) -> list[tuple[str, str, str]]:
    """Of each compared cell that now shows something else: its first line, what is committed, what it shows."""
    pairs = zip(committed, executed, strict=True)
    return [
        (old.source[:60], shown(old), shown(new)) for old, new in pairs if is_compared(old) and shown(old) != shown(new)
    ]


pytestmark = pytest.mark.skipif(not os.environ.get("LABUTILS_SLOW"), reason="minutes a notebook: set LABUTILS_SLOW=1")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_each_cell_twice_and_then_backwards(name, tmp_path):
    notebook = NOTEBOOKS[name]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    order = [cell for cell in code for _ in range(2)] + code[::-1]
    assert contradictions(order, run(notebook, order, tmp_path, name)) == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_with_the_solutions_filled_in_every_check_says_correct(name, tmp_path):
    code = [cell for cell in solved(NOTEBOOKS[name]).cells if cell.cell_type == "code"]
    executed = run(NOTEBOOKS[name], code, tmp_path, name)
    said = "".join(map(shown, executed))
    assert [n for cell in code for n in numbers(cell) if f"Exercise {n}: correct." not in said] == []
    assert "is not solved yet" not in said
    assert contradictions(code, executed) == []
