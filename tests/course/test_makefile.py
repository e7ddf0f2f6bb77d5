"""The Makefile sets up .venv once, wherever the lab lies, and says first where it cannot."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not shutil.which("make") or os.name == "nt", reason="needs make and a shell")
# A Python that notes what it is asked, and makes a .venv whose Python is itself.
PYTHON = """#!/bin/sh
echo "$@" >>"{calls}"
case "$*" in *"-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python;; esac
"""


def lab(folder: Path, calls: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    python = calls.with_name("python")
    python.write_text(PYTHON.format(calls=calls))
    python.chmod(0o755)
    return folder


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    command = ["make", *arguments, f"PYTHON={folder.parent / 'python'}"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("name", ["plain", "two words", 'a "quote"', "a `tick` and $HOME $(x)", "it's; & #1", "数据"])
def test_the_lab_lies_in_a_folder_of_any_name(name, tmp_path):
    calls = tmp_path / "calls"
    folder = lab(tmp_path / name, calls)
    done = make(folder, "run")
    assert (done.returncode, done.stderr) == (0, "")
    assert calls.read_text().splitlines()[-2:] == ["-m pip install --editable .[test]", "-m labutils run"]
    calls.unlink()
    assert make(folder, "run").returncode == 0
    assert "-m pip" not in calls.read_text()  # .venv is ready
    moved = folder.rename(tmp_path / "moved")
    calls.unlink()
    assert make(moved, "test").returncode == 0
    assert "-m venv --clear .venv" in calls.read_text()  # the old one pointed to its old place


def test_a_read_only_folder_is_found_first(tmp_path, monkeypatch):
    calls = tmp_path / "calls"
    folder = lab(tmp_path / "lab", calls)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "test").write_text("#!/bin/sh\nexit 1\n")  # an administrator may write anywhere
    text = (folder / "Makefile").read_text()
    assert text.count("test -w .") == 1
    (folder / "Makefile").write_text(text.replace("test -w .", "false"))
    done = make(folder, "run")
    assert done.returncode == 2
    assert "This folder is read-only: work in a copy of the lab that is your own." in done.stderr
    assert not calls.exists()
