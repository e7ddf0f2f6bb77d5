"""The installed package brings its data with it: build the wheel, install it elsewhere, load from there."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[1]


def call(*command: str, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=300, **kwargs)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that holds the wheel's content and nothing else; built from a copy, so that nothing is left here."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "labutils", source / "labutils", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = ("-m", "pip", "--disable-pip-version-check")
    built = call(*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", str(folder), str(source))
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("labutils-*.whl")
    put = call(*pip, "install", "--no-deps", "--no-index", "--target", str(folder / "target"), str(wheel))
    assert put.returncode == 0, put.stderr
    return wheel, folder / "target"


def test_the_wheel_holds_every_file_of_the_package(installed):
    here = {path.relative_to(ROOT) for path in (ROOT / "labutils").rglob("*") if path.is_file()}
    here = {path.as_posix() for path in here if "__pycache__" not in path.parts}
    with zipfile.ZipFile(installed[0]) as wheel:
        everything = wheel.namelist()
    assert {name for name in everything if name.startswith("labutils/")} == here
    assert [name for name in everything if name.endswith(".ipynb")] == [], "so no solution stands in one"
    assert "labutils/course/templates/lab_page/style.css" in here


def test_it_loads_mnist_from_where_it_is_installed(installed, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(installed[1])}
    code = (
        "import labutils.data as d; print(d.__file__); print(*(tuple(d.load_mnist(s).images.shape) for s in d.FILES))"
    )
    loaded = call("-c", code, cwd=tmp_path, env=environment)
    assert loaded.returncode == 0, loaded.stderr
    file, shapes = loaded.stdout.splitlines()
    assert Path(file).resolve().is_relative_to(installed[1].resolve())
    assert shapes == "(60000, 1, 28, 28) (10000, 1, 28, 28)"


def test_it_makes_the_labs_page_from_the_template_that_it_brings(installed, tmp_path):
    code = (
        "import pathlib, nbformat.v4 as v; from labutils.course import notebooks, page; print(page.__file__); "
        "one = notebooks.Executed('01_one', v.new_notebook(cells=[v.new_markdown_cell('# Title\\n\\n$x^2$')]), 1); "
        "print(page.lab_page([one], pathlib.Path('.'), 'Lab', 'A note')[0])"
    )
    made = call("-c", code, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(installed[1])})
    assert made.returncode == 0, made.stderr
    file, _, html = made.stdout.partition("\n")
    assert Path(file).resolve().is_relative_to(installed[1].resolve())
    assert "<msup>" in html
    assert ".input_area {" in html


@pytest.mark.parametrize("command", ["run", "doctor", "study"])
def test_its_commands_tell_how_they_are_called(installed, tmp_path, command):
    told = call("-m", "labutils", command, "--help", cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(installed[1])})
    assert told.returncode == 0, told.stderr
    assert f"usage: python -m labutils {command}" in told.stdout


@pytest.mark.parametrize("command", ["run", "test"])
def test_without_the_labs_folder_a_command_says_so(installed, tmp_path, command):
    told = call("-m", "labutils", command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(installed[1])})
    assert told.returncode == 2
    assert "There is no notebooks and no tests" in told.stderr
    assert f"Call `python -m labutils {command}` in a clone of the lab." in told.stderr
