"""Tiny networks and few images for the tests of studies, and one study made without any interruption."""

import signal
from pathlib import Path

import pytest
from small_study import ROWS, cheap, here, patch_images

from labutils.study import Study, run_study, workers


@pytest.fixture
def few(monkeypatch, tiny_networks):
    patch_images(monkeypatch.setattr)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_networks) -> Path:
    """The folder of the study of ROWS, made without any interruption."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch_images(patch.setattr)
        patch.setattr(workers, "_in_processes", here)
        run_study(Study(ROWS, 64), folder, score=cheap)
    return folder


@pytest.fixture
def interruptible():
    """Ctrl-C raises KeyboardInterrupt, also where the tests are a shell's background job, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
