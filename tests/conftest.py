"""What several tests share: real digits, and a folder for runs that is not the student's."""

import os

import matplotlib
import pytest
import tiny

from labutils.data import load_mnist
from labutils.models import MODELS

matplotlib.use("Agg")  # no windows
if {"PYTEST_XDIST_WORKER", "LABUTILS_RUNS"} <= os.environ.keys():  # two notebooks at once must not train one run
    os.environ["LABUTILS_RUNS"] = os.path.join(os.environ["LABUTILS_RUNS"], os.environ["PYTEST_XDIST_WORKER"])


@pytest.fixture(scope="session")
def digits():
    return load_mnist("train")


@pytest.fixture(autouse=True)
def own_runs_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LABUTILS_RUNS", str(tmp_path / "runs"))
    for name in ("LABUTILS_DATA", "LABUTILS_REPORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def tiny_networks():
    """Networks of a few thousand weights in place of the MLPs, for tests that train many times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "mlp", tiny.NETWORKS)
        yield
