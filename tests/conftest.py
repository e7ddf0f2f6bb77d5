"""What several tests share: real digits, and a folder for runs that is not the student's."""

import os
import signal

import matplotlib
import pytest
import tiny

from labutils.data import load_mnist
from labutils.models import MODELS

matplotlib.use("Agg")  # no windows
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as behind a shell's `&`: what a test starts shall hear Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
if {"PYTEST_XDIST_WORKER", "LABUTILS_RUNS"} <= os.environ.keys():  # two notebooks at once must not train one run
    os.environ["LABUTILS_RUNS"] = os.path.join(os.environ["LABUTILS_RUNS"], os.environ["PYTEST_XDIST_WORKER"])


def pytest_collection_modifyitems(items):
    """What takes minutes comes first, so that no worker waits for it at the end."""
    items.sort(key=lambda item: item.path.name != "test_cells_again.py")


@pytest.fixture(scope="session")
def digits():
    return load_mnist("train")


@pytest.fixture(autouse=True)
def own_runs_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LABUTILS_RUNS", str(tmp_path / "runs"))
    for name in ("LABUTILS_DATA", "LABUTILS_REPORT"):
        monkeypatch.delenv(name, raising=False)


class Shown:
    """Stands in for IPython's display; keeps what was shown, and what each later update put in its place."""

    def __init__(self):
        self.pictures, self.bundles, self.displays = [], [], 0

    def __call__(self, thing, raw=False, display_id=False):
        (self.bundles if raw else self.pictures).append(thing)
        self.displays += 1
        return self

    def update(self, thing):
        self.pictures.append(thing)


@pytest.fixture
def shown(monkeypatch):
    shown = Shown()
    for module in ("labutils.widgets", "labutils.course.play"):
        monkeypatch.setattr(f"{module}.display", shown)
    return shown


@pytest.fixture(scope="module")
def tiny_networks():
    """Networks of a few thousand weights in place of the MLPs, for tests that train many times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "mlp", tiny.NETWORKS)
        yield
