"""What several tests share: real digits, and a folder for runs that is not the student's."""

import matplotlib
import pytest

from labutils.data import load_mnist

matplotlib.use("Agg")  # no windows


@pytest.fixture(scope="session")
def digits():
    return load_mnist("train")


@pytest.fixture(autouse=True)
def own_runs_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LABUTILS_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("LABUTILS_DATA", raising=False)
