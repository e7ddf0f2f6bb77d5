"""Which runs a report is about, which answers it finds, and the scores that are made once."""

import shutil

import nbformat
import pytest
import tiny
from nbformat.v4 import new_markdown_cell

from labutils import quality, runs
from labutils.course import material
from labutils.training import train

SEED = 128970958758141


def another(desk, name: str, images=160, **changes):
    return train(tiny.config(**changes), desk.runs / name, images=tiny.images(images), progress=False)


def test_the_students_own_seed_comes_first_then_the_longest(desk):
    another(desk, "mlp longer", epochs=13)
    assert material.gather().runs["mlp"].folder.name == "mlp mine"
    another(desk, "mlp mine too", seed=SEED, epochs=13)
    assert material.gather().runs["mlp"].folder.name == "mlp mine too"


def test_a_run_may_be_chosen(desk):
    another(desk, "mlp seed 1", seed=1)
    material.choose(mlp="mlp seed 1")
    found = material.gather().runs
    assert found["mlp"].folder.name == "mlp seed 1"
    assert found["dcgan"].folder.name == "dcgan-我的"
    assert "mlp mine" in found  # the same settings with another seed: to compare
    material.choose(mlp=None)
    assert material.gather().runs["mlp"].folder.name == "mlp mine"


def test_what_cannot_be_chosen_is_named(desk):
    with pytest.raises(ValueError, match="mlp mine is no run of dcgan"):
        material.choose(dcgan="mlp mine")
    with pytest.raises(ValueError, match="is no run of cgan"):
        material.choose(cgan="mlp mine")
    with pytest.raises(runs.RunError, match=r"is not a run: .* Runs here: dcgan-我的, mlp mine"):
        material.choose(mlp="mlp gone")


def test_runs_of_other_settings_or_images_are_not_compared(desk):
    another(desk, "mlp faster", lr=1e-3)
    another(desk, "mlp of fewer", images=96, seed=2)
    assert set(material.gather().runs) == {"mlp", "dcgan"}


def test_without_any_run_all_is_said(desk):
    shutil.rmtree(desk.runs)
    found = material.gather()
    assert found.runs == {}
    assert [words["model"] for text, words in found.lacks if text.startswith("There is no run")] == ["MLP", "DCGAN"]


def test_answers_are_found_by_the_number_of_their_cell(desk):
    desk.answer({"5.1": "<!-- your answer -->\n\nAt **24**.\n", "5.2": "<!-- your answer -->"})
    notebook = nbformat.read(desk.work / "05_training.ipynb", 4)
    notebook.cells.insert(4, new_markdown_cell("And a second half.", metadata={"question": "5.1"}))
    notebook.cells.append(new_markdown_cell("none of ours", metadata={"question": "9.9"}))
    nbformat.write(notebook, desk.work / "05_training.ipynb")
    questions = material.gather().questions
    assert [(q.number, q.answer) for q in questions] == [("5.1", "At **24**.\n\nAnd a second half."), ("5.2", "")]
    assert questions[0].text == "1. At which epoch would you stop?"


@pytest.mark.parametrize(
    ("text", "language"),
    [("", "en"), ("It collapsed at epoch 3.", "en"), ("在第 3 个周期崩塌 (mode collapse)。", "zh")],
)
def test_the_language_is_that_of_the_answers(text, language, desk):
    desk.answer({"5.1": text})
    assert material.gather().language == language


def test_a_score_is_made_once_for_the_same_weights(desk, monkeypatch):
    monkeypatch.undo()  # the real `scored`
    calls = []

    def score(images):
        calls.append(len(images))
        return quality.real_digits()

    monkeypatch.setattr(quality, "score", score)
    run = runs.load_run(desk.run("mlp"))
    first = material.scored(run, samples=2_000)
    assert material.scored(run, samples=2_000) == first
    assert calls == [2_000]
    assert (first["seed"], first["averaged"]) == (0, False)
    material.scored(run, samples=3_000)
    material.scored(runs.load_run(desk.run("dcgan")), samples=3_000)
    assert calls == [2_000, 3_000, 3_000]
    (run.folder / "scores.json").write_text("{}")
    material.scored(run, samples=3_000)
    assert len(calls) == 4
    monkeypatch.setenv("LABUTILS_DATA", "others")  # beside other images it has other scores
    monkeypatch.setattr(quality, "classifier_folder", lambda: quality.CLASSIFIER)
    material.scored(run, samples=3_000)
    assert len(calls) == 5


def test_ten_epochs_are_shown_from_first_to_last(desk):
    run = runs.load_run(desk.run("mlp"))
    epochs = material.figure_epochs(run)
    assert (len(epochs), epochs[0], epochs[-1]) == (10, 0, 12)
    assert material.figure_epochs(runs.load_run(desk.run("dcgan"))) == [0, 1, 2]
    for path in (run.folder / "samples").iterdir():
        path.unlink()
    assert material.figure_epochs(run) == []


@pytest.mark.parametrize(
    "cell",
    [
        "Why?",
        "**5.1** Why?",
        "**Question 5.1.** Why?",
        "## Questions for your report\n\n**5.1** Why?",
        "Of before.\n\n## Your prediction\n\nWhy?",
    ],
)
def test_a_question_is_found_however_its_cell_begins(cell):
    assert material.asked("5.1", cell) == "Why?"
