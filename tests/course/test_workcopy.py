"""The student's copies: made once, never overwritten, and a new version takes over what the student wrote."""

import json
import os
import sys
from pathlib import Path

import pytest

from labutils.course import cli, workcopy
from labutils.course.workcopy import bring_up_to_date


def notebook(text: str, stub: str = "raise NotImplementedError", answer: str = "") -> str:
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": [text]},
        {
            "cell_type": "code",
            "metadata": {"exercise": "5.1"},
            "source": stub,
            "outputs": ["old"],
            "execution_count": 1,
        },
        {"cell_type": "markdown", "metadata": {"question": "5.2"}, "source": [answer]},
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture
def lab(tmp_path):
    """(folder of the lab's notebooks, folder of the copies)."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "05_training.ipynb").write_text(notebook("first"))
    return tmp_path / "notebooks", tmp_path / "work"


def write(folder: Path, *version: str) -> None:
    (folder / "05_training.ipynb").write_text(notebook(*version))


def sources(path: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]


def test_a_copy_is_made_once_and_never_overwritten(lab):
    notebooks, work = lab
    assert bring_up_to_date(work, False, notebooks) == [f"Copied to {work}: 05_training."]
    assert (work / "05_training.ipynb").read_text() == notebook("first")
    write(work, "first", "return 1")
    assert bring_up_to_date(work, False, notebooks) == []
    assert bring_up_to_date(work, True, notebooks) == []  # there is no new version
    assert sources(work / "05_training.ipynb") == ["first", "return 1", ""]


def changed(lab, mine: tuple, theirs: tuple, taken: str | None = None) -> Path:
    """The copies, after the student wrote `mine` into his and the lab came to `theirs`."""
    notebooks, work = lab
    bring_up_to_date(work, False, notebooks)
    if taken is not None:
        (work / workcopy.TAKEN).write_text(taken)
    write(work, *mine)
    write(notebooks, *theirs)
    return work


ANEW = "raise NotImplementedError('anew')"


def test_a_new_version_is_told_and_taken_over_with_the_student_s_cells(lab):
    notebooks, work = lab
    changed(lab, ("first, with a note", "return 1", "I think so."), ("second", ANEW))
    (told,) = bring_up_to_date(work, False, notebooks)
    assert "05_training: the lab has a new version. `python -m labutils lab --update`" in told
    assert sources(work / "05_training.ipynb")[0] == "first, with a note"
    (told,) = bring_up_to_date(work, True, notebooks)
    said = "new version, with your exercise 5.1, question 5.2; your old file is 05_training (mine).ipynb."
    assert told == f"05_training: {said}"
    assert sources(work / "05_training.ipynb") == ["second", "return 1", "I think so."]
    assert json.loads((work / "05_training.ipynb").read_text())["cells"][1]["outputs"] == []
    assert sources(work / "05_training (mine).ipynb")[0] == "first, with a note"
    assert bring_up_to_date(work, True, notebooks) == []
    write(notebooks, "third")
    assert "your old file is 05_training (mine 2).ipynb" in bring_up_to_date(work, True, notebooks)[0]
    assert sources(work / "05_training.ipynb") == ["third", "return 1", "I think so."]


def test_a_split_cell_and_a_pasted_picture_are_taken_over(lab):
    notebooks, work = lab
    bring_up_to_date(work, False, notebooks)
    mine = json.loads((work / "05_training.ipynb").read_text())
    mine["cells"][2:] = [
        {"cell_type": "markdown", "metadata": {"question": "5.2"}, "source": "First."},
        {"cell_type": "markdown", "metadata": {"question": "5.2"}, "source": "![](attachment:a.png)"}
        | {"attachments": {"a.png": {"image/png": "AAAA"}}},
    ]
    (work / "05_training.ipynb").write_text(json.dumps(mine))
    write(notebooks, "second")
    bring_up_to_date(work, True, notebooks)
    cells = json.loads((work / "05_training.ipynb").read_text())["cells"]
    assert cells[2]["source"] == "First.\n\n![](attachment:a.png)"
    assert cells[2]["attachments"] == {"a.png": {"image/png": "AAAA"}}
    assert "attachments" not in cells[1]


@pytest.mark.parametrize(
    ("mine", "taken", "kept"),
    [
        (("first", "raise NotImplementedError", "I think so."), None, [ANEW, "I think so."]),  # an untouched stub
        (("first", "return 1"), "damaged", ["return 1", ""]),  # of an unknown version all that is numbered is kept
    ],
)
def test_of_each_numbered_cell_what_the_student_wrote_is_kept(mine, taken, kept, lab):
    work = changed(lab, mine, ("second", ANEW), taken)
    bring_up_to_date(work, True, lab[0])
    assert sources(work / "05_training.ipynb") == ["second", *kept]


@pytest.mark.parametrize("broken", ["", "<<<<<<<", "[]", '{"cells": [1]}'])
def test_a_copy_that_is_no_notebook_is_named_and_left(broken, lab):
    notebooks, work = lab
    bring_up_to_date(work, False, notebooks)
    (work / "05_training.ipynb").write_text(broken)
    write(notebooks, "second")
    (told,) = bring_up_to_date(work, True, notebooks)
    assert told.endswith(
        "05_training.ipynb cannot be read as a notebook: repair it, or move it away and call this again."
    )
    assert (work / "05_training.ipynb").read_text() == broken


def test_the_command_makes_the_copies_and_hands_over_to_jupyterlab(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LABUTILS_WORK", str(tmp_path / "work"))
    called = []
    monkeypatch.setattr(os, "execv", lambda program, command: called.extend(command))
    monkeypatch.chdir(tmp_path)
    cli.main(["lab", "05", "--no-browser", "--port=8899"])
    assert called[:3] == [sys.executable, "-m", "jupyterlab"]
    assert called[-3:] == [str(tmp_path / "work" / "05_training.ipynb"), "--no-browser", "--port=8899"]
    assert "Copied to" in capsys.readouterr().out
    assert (tmp_path / "work" / "01_theory.ipynb").is_file()


def test_what_cannot_be_done_is_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LABUTILS_WORK", str(tmp_path / "file"))
    (tmp_path / "file").write_text("no folder")
    assert cli.main(["lab"]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert cli.main(["lab", "99"]) == 2
    assert "'99' fits 0 notebooks" in capsys.readouterr().err
    monkeypatch.setattr(workcopy.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["lab"]) == 2
    assert "Not installed: jupyterlab." in capsys.readouterr().err


def test_copies_alone_for_another_editor(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LABUTILS_WORK", str(tmp_path / "work"))
    assert cli.main(["lab", "--copy-only"]) == 0
    assert f"Your copies are in {tmp_path / 'work'}." in capsys.readouterr().out
    assert (tmp_path / "work" / "05_training.ipynb").is_file()
