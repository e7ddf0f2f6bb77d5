"""~nobody, wherever a student may write a path, is one sentence."""

import pytest
import tiny

from labutils.data import load_mnist
from labutils.quality import train_classifier
from labutils.runs import load_run, runs_folder
from labutils.study import records, ship
from labutils.training import train

NOBODY = "~nouser/x"


@pytest.mark.parametrize(
    "ask",
    [
        lambda: load_run(NOBODY),
        lambda: load_mnist(root=NOBODY),
        lambda: train(tiny.config(), NOBODY, images=tiny.images(), progress=False),
        lambda: train_classifier(NOBODY),
        lambda: records(NOBODY),
        lambda: ship(NOBODY, "x"),
        runs_folder,
    ],
    ids=["load_run", "load_mnist", "train", "train_classifier", "records", "ship", "LABUTILS_RUNS"],
)
def test_nobodys_home_is_one_sentence(ask, monkeypatch):
    monkeypatch.setenv("LABUTILS_RUNS", NOBODY)
    with pytest.raises(ValueError, match="~nouser/x: nobody here has that home folder"):
        ask()


def test_no_path_at_all_is_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="holds a character that no path can have"):
        load_run("a\0b")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ValueError, match="mine: the folder that you are in was deleted"):
        load_run("mine")
