"""Solved notebooks, run forwards and then backwards: each cell twice, and nothing fails or contradicts itself."""

import copy
import os

import nbformat
import pytest
from exercises.solved import numbers, solved
from test_notebooks import NOTEBOOKS

from labutils.course.notebooks import execute

pytestmark = pytest.mark.thorough

CHEAP = {"LABUTILS_PRESET": "smoke", "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}  # agg: no figure becomes a picture

SETUP = """
import hashlib

from labutils import quality


def once(function):
    kept = {}

    def shared(*tensors):
        key = hashlib.sha256(b"".join(t.contiguous().numpy().tobytes() for t in tensors)).digest()
        if key not in kept:
            kept[key] = function(*tensors)
        return kept[key]

    return shared


quality.score, quality.neighbourhoods = once(quality.score), once(quality.neighbourhoods)
"""  # what is measured again is looked up: only that takes long


def shown(cell) -> str:
    """All that a cell shows as text."""
    outputs = cell.get("outputs", [])
    return "".join(out.get("text", "") + str(out.get("data", {}).get("text/plain", "")) for out in outputs)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_forwards_and_then_backwards_with_the_solutions_filled_in(name, tmp_path):
    code = [cell for cell in solved(NOTEBOOKS[name]).cells if cell.cell_type == "code"]
    order = [*range(len(code)), *reversed(range(len(code)))]
    cells = [copy.deepcopy(code[i]) | {"id": f"cell-{place}"} for place, i in enumerate(order)]
    cells = [nbformat.v4.new_code_cell(SETUP), *cells]
    nbformat.write(nbformat.from_dict({**NOTEBOOKS[name], "cells": cells}), tmp_path / f"{name}.ipynb")
    done = execute(tmp_path / f"{name}.ipynb", os.environ | CHEAP, 300)
    assert not done.error
    seen = [(code[i], shown(cell)) for i, cell in zip(order, done.notebook.cells[1:], strict=True)]
    assert "is not solved yet" not in "".join(text for _, text in seen)
    for number in (n for cell in code for n in numbers(cell)):
        assert sum(f"Exercise {number}: correct." in text for _, text in seen) == 2, number
    compared = [(old, text) for old, text in seen if "nbval-check-output" in old.metadata.get("tags", [])]
    assert compared
    assert [(old.source[:60], shown(old), text) for old, text in compared if shown(old) != text] == []
