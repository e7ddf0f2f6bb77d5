"""What the tests of report and hand-in share: the desk of a student, with two small runs and a working copy."""

import shutil
from pathlib import Path

import nbformat
import pytest
import tiny
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from labutils import quality
from labutils.course import lab, material, student
from labutils.models import MODELS
from labutils.training import TrainConfig, train

NUMBER, NAME = "2023000001", "王 小明"
QUESTIONS = {"5.1": "1. At which epoch would you stop?", "5.2": "2. Is your run collapsed?"}


def notebook(answers: dict[str, str], **attachments) -> nbformat.NotebookNode:
    """A notebook with two questions, and these answers."""
    cells = [new_markdown_cell("# 05  Training"), new_code_cell("1 + 1")]
    for number, text in QUESTIONS.items():
        cells.append(new_markdown_cell(text))
        answer = new_markdown_cell(answers.get(number, "<!-- your answer -->"), metadata={"question": number})
        if number in attachments:
            answer["attachments"] = attachments[number]
        cells.append(answer)
    return new_notebook(cells=cells)


class Desk:
    """The lab's folder of one student."""

    def __init__(self, root: Path):
        self.root, self.work, self.runs = root, root / "work", root / "runs"

    def answer(self, answers: dict[str, str], **attachments) -> None:
        self.work.mkdir(exist_ok=True)
        nbformat.write(notebook(answers, **attachments), self.work / "05_training.ipynb")

    def run(self, model: str) -> Path:
        return next(self.runs.glob(f"{model}*"))


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory) -> Path:
    """A tiny MLP and a DCGAN of a few images, of the student's own seed; to be copied, never changed."""
    folder = tmp_path_factory.mktemp("runs")
    seed = student.seed_of(student.COURSE, NUMBER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "mlp", tiny.NETWORKS)
        train(tiny.config(seed=seed, epochs=12), folder / "mlp mine", images=tiny.images(160), progress=False)
    settings = {"seed": seed, "epochs": 2, "batch_size": 8, "device": "cpu", "precision": "float32", "threads": 1}
    train(TrainConfig("dcgan", **settings), folder / "dcgan-我的", images=tiny.images(16), progress=False)
    return folder


@pytest.fixture
def desk(tmp_path, monkeypatch, two_runs, tiny_networks) -> Desk:
    """A student with a number, two runs and no answer yet; the runs count as scored, like a collapsed one."""
    here = Desk(tmp_path / "my lab 实验")
    (here.root / "notebooks").mkdir(parents=True)
    (here.root / "tests").mkdir()
    (here.root / "pyproject.toml").touch()
    nbformat.write(notebook({}), here.root / "notebooks" / "05_training.ipynb")
    shutil.copytree(two_runs, here.runs)
    monkeypatch.setattr(lab, "ROOT", here.root)
    monkeypatch.setenv("LABUTILS_RUNS", str(here.runs))
    monkeypatch.setenv("LABUTILS_WORK", str(here.work))
    scores = quality.real_digits().to_dict() | {"frechet": 203.7, "coverage": 0.25}
    monkeypatch.setattr(material, "scored", lambda run: scores | {"seed": 0, "averaged": False})
    student.keep(NUMBER, NAME)
    return here
