"""The command line: what it imports, what it refuses, and that a failing part makes `test` fail."""

import os
import subprocess
import sys

import nbformat
import pytest

from labutils import __main__ as cli
from labutils import doctor, notebooks, training


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint('modules:', *sys.modules)"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("modules:")[2].split())


@pytest.mark.parametrize(
    "code",
    ["import labutils", "from labutils.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass"],
    ids=["import", "help"],
)
def test_nothing_slow_is_imported_before_it_is_needed(code):
    loaded = modules_after(code)
    assert "labutils" in loaded
    assert not loaded & {"torch", "numpy", "matplotlib", "nbclient", "nbconvert", "nbformat", "IPython"}


def test_the_presets_are_those_of_training():
    assert set(cli.PRESETS) == set(training.PRESETS)


def refused(arguments: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_an_unknown_preset_gets_a_sentence(capsys, monkeypatch):
    assert "invalid choice: 'huge'" in refused(["run", "--preset", "huge"], capsys)
    monkeypatch.setenv("LABUTILS_PRESET", "huge")
    assert "LABUTILS_PRESET is 'huge', which is no preset; use one of smoke, quick, full." in refused(["run"], capsys)


def test_an_unknown_notebook_gets_a_sentence(capsys):
    told = refused(["run", "99_nothing"], capsys)
    assert "'99_nothing' fits 0 notebooks" in told
    assert "01_theory" in told


def test_an_unknown_command_or_option_is_refused(capsys):
    assert "invalid choice: 'learn'" in refused(["learn"], capsys)
    assert "run knows no --fast" in refused(["run", "--fast"], capsys)


@pytest.mark.parametrize(("preset", "timeout"), [("smoke", 3600), ("quick", 3600), ("full", None)])
def test_run_passes_on_what_it_is_asked(monkeypatch, preset, timeout):
    asked = []
    monkeypatch.setattr(notebooks, "run", lambda *arguments: asked.append(arguments) or 1)
    assert cli.main(["run", "03", "--preset", preset, "--update"]) == 1
    assert asked == [(["03"], preset, True, timeout)]


def test_a_path_that_the_terminal_cannot_show_is_no_error():
    code = "import sys; from labutils import __main__ as m, notebooks as n; n.run = lambda *_: print('\\u6570') or 0"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; sys.exit(m.main(['run']))"],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stdout.strip()) == (0, b"\\u6570")


def test_the_doctor_gets_its_own_arguments(monkeypatch):
    monkeypatch.setattr(doctor, "main", lambda arguments: arguments)
    assert cli.main(["doctor", "--help"]) == ["--help"]


@pytest.fixture
def small_lab(tmp_path, monkeypatch):
    """A folder with one test and one notebook; the function returned writes them and runs `test` on them."""
    for name in ("tests", "notebooks"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(cli, "ROOT", tmp_path)

    def check(test: str, shown: str) -> int:
        (tmp_path / "tests" / "test_one.py").write_text(test)
        cell = nbformat.v4.new_code_cell("# NBVAL_CHECK_OUTPUT\nprint(1 + 1)", execution_count=1)
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=shown)]
        notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": notebooks.KERNELSPEC})
        nbformat.write(notebook, tmp_path / "notebooks" / "01_one.ipynb")
        return cli.run_tests(["-p", "no:cacheprovider"])

    return check


def test_all_parts_pass(small_lab, capfd):
    assert small_lab("def test_one():\n    assert True\n", "2\n") == 0
    summary = capfd.readouterr().out.rpartition("== summary")[2].split("\n")
    assert [line.split(":")[0] for line in summary[1:4]] == [
        "ruff check  passed",
        "ruff format passed",
        "pytest      passed",
    ]
    assert "2 passed in" in summary[3]


def test_each_failing_part_is_named_and_none_hides_another(small_lab, capfd):
    assert small_lab("import os\ndef test_one(): assert False\n", "3\n") == 1
    summary = capfd.readouterr().out.rpartition("== summary")[2]
    assert summary.count("failed: ") == 3
    assert "2 failed in" in summary


def test_missing_test_tools_get_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None if name == "nbval" else object())
    assert cli.run_tests([]) == 2
    assert "Not installed: nbval." in capsys.readouterr().out


@pytest.mark.parametrize("seconds", ["0", "-5"])
def test_a_cell_timeout_that_is_no_time_is_refused(seconds, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["run", "--cell-timeout", seconds])
    assert stop.value.code == 2
    assert f"--cell-timeout is {seconds}; expected a whole number of seconds" in capsys.readouterr().err
