"""Solutions are data beside the package: they pass their checks, and stand in no notebook."""

import ast
import functools
import linecache

import nbformat
import pytest
import torch
from exercises.solved import numbers, solved
from test_notebooks import NOTEBOOKS

from labutils.exercises import EXERCISES
from labutils.exercises import tries as kept


def bodies(source: str) -> set[str]:
    """The functions of a code, without their docstrings, however they are written."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            found |= {ast.dump(ast.Module(body, []))} if body else set()
    return found


def code(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_each_exercise_has_its_texts_and_its_stub():
    stubs = [number for notebook in NOTEBOOKS.values() for cell in notebook.cells for number in numbers(cell)]
    assert stubs == kept.numbers() == list(EXERCISES)
    for number in kept.numbers():
        about = kept.texts(number)
        assert about["title"]
        assert 2 <= len(about["hints"]) <= 3
        assert not set("*=") & set(about["hints"][0]), "the first hint is no formula"
        ast.parse(about["solution"])


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_no_solution_stands_in_a_notebook(name):
    solutions = set().union(
        *(bodies(kept.texts(n)["solution"]) for n in kept.numbers() if n.startswith(f"{int(name[:2])}."))
    )
    written = set().union(*(bodies(cell.source) for cell in code(NOTEBOOKS[name])))
    given = set().union(*(bodies(cell.source) for cell in code(NOTEBOOKS[name]) if numbers(cell)))  # stubs: unsolved
    assert not (solutions - given) & written


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_each_stub_is_untouched_and_checked_in_the_next_cell(name):
    cells = code(NOTEBOOKS[name])
    for cell, after in zip(cells, [*cells[1:], None], strict=True):
        for number in numbers(cell):
            assert number.startswith(f"{int(name[:2])}.")
            assert "NotImplementedError" in cell.source or "None" in cell.source
            check = cell.source + after.source
            answers = kept.texts(number)["answer"]
            answers = [answers] if isinstance(answers, str) else answers
            assert f"exercises.{EXERCISES[number].name}({', '.join(answers)})" in check
            said = "".join(output.get("text", "") for each in (cell, after) for output in each.outputs)
            assert f"Exercise {number}: not attempted yet." in said


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_goes_on_with_what_a_check_hands_on(name):
    trees = [ast.parse(cell.source) for cell in code(NOTEBOOKS[name])]
    for i, tree in enumerate(trees):
        for call in (n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr == "or_else"):
            (kept,) = [n for n in tree.body if isinstance(n, ast.Assign) and call in ast.walk(n)]
            names = {n.id for target in kept.targets for n in ast.walk(target) if isinstance(n, ast.Name)}
            after = (n for later in trees[i:] for n in ast.walk(later) if isinstance(n, ast.Name))
            assert names <= {n.id for n in after if isinstance(n.ctx, ast.Load)}


def test_solved_fills_each_stub_and_nothing_else():
    for notebook in NOTEBOOKS.values():
        filled = solved(notebook)
        changed = [cell for cell, old in zip(filled.cells, notebook.cells, strict=True) if cell.source != old.source]
        assert changed == [cell for cell in filled.cells if numbers(cell)]
        nbformat.validate(filled)


def test_hints_come_one_by_one_and_a_solution_after_three_different_wrong_tries(capsys):
    hint, solution, exercise = kept.hint, kept.solution, EXERCISES["2.1"]
    hint("2.1"), hint("2.1")
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in said] == [f"Hint {i} of 3 for exercise 2.1" for i in (1, 2)]
    exercise(lambda x: x)
    exercise(lambda x: x.float())
    for _ in range(2):
        exercise(lambda x: x.float() / 255)
        if _ == 0:
            solution("2.1")
    said = capsys.readouterr().out
    assert "def my_normalise" in said
    solution("2.2")
    assert "0 of 3 different wrong tries" in capsys.readouterr().out
    solution("2.2", anyway=True)
    assert "def my_to_pixels" in capsys.readouterr().out
    hint("9.9")
    assert "There is no exercise '9.9'; there are 1.1, 1.2" in capsys.readouterr().out


def test_the_same_wrong_try_again_opens_nothing(capsys):
    for _ in range(4):
        EXERCISES["2.1"](torch.neg)
    kept.solution("2.1")
    assert "1 of 3 different wrong tries" in capsys.readouterr().out


def in_a_notebook(source: str, name: str):
    """What a cell defines: Python 3.11 finds the lines of its functions, and no class."""
    file = f"<cell {len(linecache.cache)}>"
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    scope = {"nn": torch.nn, "__name__": "__main__"}
    exec(compile(source, file, "exec"), scope)
    return scope[name]


def test_a_class_written_anew_in_a_notebook_is_another_try(capsys):
    for width in (1, 2, 3):
        source = f"class Mine(nn.Module):\n    def __init__(self):\n        self.layers = nn.Linear(100, {width})\n"
        EXERCISES["3.1"](in_a_notebook(source, "Mine"))
        EXERCISES["3.2"](in_a_notebook("class Mine(nn.Module):\n    def __init__(self):\n        1 / 0\n", "Mine"))
    kept.solution("3.1")
    assert "def __init__(self, z_dim=100)" in capsys.readouterr().out
    kept.solution("3.2")
    assert "1 of 3 different wrong tries" in capsys.readouterr().out


def test_an_object_made_anew_is_the_same_try(capsys):
    class Scale:
        def __call__(self, x):
            return x * self.by  # which it has not

    for _ in range(3):
        EXERCISES["2.1"](Scale())
        EXERCISES["2.2"](functools.partial(lambda x, by: x * by, by=3))
    for number in ("2.1", "2.2"):
        kept.solution(number)
        assert "1 of 3 different wrong tries" in capsys.readouterr().out


def test_a_number_names_an_exercise_as_its_text_does(capsys):
    kept.hint(5.2), kept.hint("5.2"), kept.solution(5.2)
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in said] == [
        "Hint 1 of 3 for exercise 5.2", "Hint 2 of 3 for exercise 5.2", "Exercise 5.2"
    ]  # fmt: skip


def test_progress_keeps_the_best_state_in_one_file_and_draws_it(tmp_path):
    EXERCISES["2.1"](lambda x: x.float() / 127.5 - 1)
    EXERCISES["2.1"](lambda x: x)
    EXERCISES["2.2"](lambda x: x)
    EXERCISES["2.3"](lambda x: x)
    states = kept.states()
    assert [states[f"2.{i}"] for i in (1, 2, 3)] == ["right", "wrong", "error"]
    assert set(states.values()) == {"right", "wrong", "error", "untouched"}
    assert list(states) == list(EXERCISES)
    cells = [
        nbformat.v4.new_markdown_cell(text, metadata={"question": f"2.{i}"})
        for i, text in enumerate(("", "So.", "<!-- your answer -->"))
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "02_data.ipynb")
    assert kept.questions(tmp_path) == {"2.0": False, "2.1": True, "2.2": False}
    figure = kept.progress(tmp_path)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()][1] == "notebook 02"
    assert figure.axes[0].get_title().startswith("1 of ")


@pytest.mark.parametrize(
    "content", ["", "[]", '{"2.1": 3}', "{", '{"2.1": {"state": "best", "hints": 0, "wrong": []}}']
)
def test_a_damaged_file_counts_as_none(content, capsys):
    kept._path().parent.mkdir(parents=True)
    kept._path().write_text(content)
    assert set(kept.states().values()) == {"untouched"}
    EXERCISES["2.1"](lambda x: x)
    assert kept.states()["2.1"] == "wrong"


def test_a_folder_that_cannot_be_written_hinders_no_check(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LABUTILS_RUNS", str(tmp_path / "file" / "runs"))
    assert EXERCISES["2.1"](lambda x: x.float() / 127.5 - 1)
    assert "This try is not kept" in capsys.readouterr().out


def test_a_number_may_be_a_number(capsys):
    kept.hint(2.1)
    assert capsys.readouterr().out.startswith("Hint 1 of 3 for exercise 2.1")
    kept.hint(" 2.1 ")
    assert capsys.readouterr().out.startswith("Hint 2 of 3 for exercise 2.1")
    kept.solution(2.1)
    assert capsys.readouterr().out.startswith("Exercise 2.1: 0 of 3")
