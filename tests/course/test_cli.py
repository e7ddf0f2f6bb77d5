"""The command line: what it imports, what it refuses, and that a failing part makes `test` fail."""

import os
import subprocess
import sys

import nbformat
import pytest
import small_lab

from labutils.course import cli, doctor, lab, notebooks, suite

SLOW = {"torch", "numpy", "matplotlib", "nbclient", "nbconvert", "nbformat", "jupyter_client", "IPython", "bs4"}


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, env=os.environ | environment)


def modules_after(code: str) -> set[str]:
    done = python(f"import sys\n{code}\nprint('modules:', *sys.modules)")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.decode().rpartition("modules:")[2].split())


def test_nothing_slow_is_imported_with_labutils():
    loaded = modules_after("import labutils, labutils.course")
    assert "labutils.course" in loaded
    assert not loaded & SLOW


@pytest.mark.parametrize("command", [None, *cli.COMMANDS])
def test_help_imports_nothing_slow(command):
    arguments = [command, "--help"] if command else ["--help"]
    call = f"from labutils.course.cli import main\ntry: main({arguments})\nexcept SystemExit: pass"
    assert not modules_after(call) & SLOW


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_each_command_has_a_help_of_its_own(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"usage: python -m labutils {command}" in printed
    own = {"run": "--cell-timeout", "test": "PYTEST", "doctor": "", "classifier": "--folder", "study": "--scheduler"}
    own |= {
        "student": "--course",
        "handin": "--check FILE",
        "report": "--lang",
        "lab": "--update",
        "grade": "--execute",
    }
    assert own[command] in printed


def refused(arguments: list[str], capsys) -> str:
    try:
        code = cli.main(arguments)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    return capsys.readouterr().err


def test_an_unknown_preset_gets_a_sentence(capsys, monkeypatch):
    assert "invalid choice: 'huge'" in refused(["run", "--preset", "huge"], capsys)
    monkeypatch.setenv("LABUTILS_PRESET", "huge")
    assert "LABUTILS_PRESET is 'huge', which is no preset; use one of smoke, quick, full." in refused(["run"], capsys)


def test_an_unknown_notebook_gets_a_sentence(capsys):
    told = refused(["run", "99_nothing"], capsys)
    assert "'99_nothing' fits 0 notebooks" in told
    assert "01_theory" in told


@pytest.mark.parametrize("seconds", ["0", "-5"])
def test_a_cell_timeout_that_is_no_time_is_refused(seconds, capsys):
    told = refused(["run", "--cell-timeout", seconds], capsys)
    assert f"--cell-timeout is {seconds}; expected a whole number of seconds" in told


def test_an_unknown_command_or_option_is_refused(capsys):
    assert "invalid choice: 'learn'" in refused(["learn"], capsys)
    for command in ("run", "doctor", "classifier"):
        assert f"{command} knows no --fast" in refused([command, "--fast"], capsys)
    assert "required: COMMAND" in refused([], capsys)


@pytest.mark.parametrize(("preset", "timeout"), [("smoke", 3600), ("quick", 3600), ("full", None)])
def test_run_passes_on_what_it_is_asked(monkeypatch, preset, timeout):
    asked = []
    monkeypatch.setattr(lab, "execute_all", lambda *arguments: asked.append(arguments) or 1)
    assert cli.main(["run", "03", "--preset", preset, "--update"]) == 1
    assert asked == [(["03"], preset, True, timeout)]


def test_what_test_does_not_know_goes_to_pytest(monkeypatch):
    monkeypatch.setattr(suite, "run_tests", lambda options, thorough: options)
    assert cli.main(["test", "-k", "losses", "--co", "tests/test_losses.py"]) == [
        *("-k", "losses", "--co", "tests/test_losses.py")
    ]


def test_ctrl_c_is_no_traceback(monkeypatch):
    def stopped(known):
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "main", stopped)
    assert cli.main(["doctor"]) == 130


def test_a_path_that_the_terminal_cannot_show_is_no_error():
    code = "from labutils.course import cli, lab; lab.execute_all = lambda *_: print('\\u6570') or 0"
    done = python(f"{code}; raise SystemExit(cli.main(['run']))", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout.strip()) == (0, b"\\u6570")


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
@pytest.mark.parametrize(
    ("to", "code", "said"),
    [
        ("| true", 141, ""),
        (">/dev/full", 2, "The output cannot be written: No space left on device.\n"),
        (">&-", 0, ""),
    ],
)
def test_whoever_reads_what_is_said_may_stop(to, code, said, tmp_path):
    if to == ">/dev/full" and not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    text = "import time; from labutils.course import cli, lab; time.sleep(1)\n"
    text += "lab.execute_all = lambda *_: print('a table') or 0\nraise SystemExit(cli.main(['run']))"
    (tmp_path / "command.py").write_text(text)
    call = f'{{ "$PYTHON" command.py; echo $? >code; }} {to}'
    environment = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run(["sh", "-c", call], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ((tmp_path / "code").read_text().strip(), done.stderr) == (str(code), said)


@pytest.mark.parametrize("command", [name for name in cli.COMMANDS if name != "doctor"])
def test_a_home_folder_of_nobody_gets_a_sentence(command, monkeypatch, capsys):
    for name in ("LABUTILS_RUNS", "LABUTILS_DATA"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "~nouser/x")
            assert f"{name} is ~nouser/x: nobody here has that home folder." in refused([command], capsys)


def test_a_file_that_cannot_be_used_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "main", lambda known: (tmp_path / "none").read_text())
    assert refused(["doctor"], capsys) == f"{tmp_path / 'none'} cannot be used: No such file or directory.\n"


@pytest.fixture
def tested(tmp_path, monkeypatch):
    """A function that makes a lab of one test and one notebook, whose output it is given, and runs `test` on it."""
    monkeypatch.setattr(lab, "ROOT", tmp_path)

    def check(test: str, shown: str, thorough: bool = False) -> int:
        cell = nbformat.v4.new_code_cell("# NBVAL_CHECK_OUTPUT\nprint(1 + 1)", execution_count=1)
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=shown)]
        one = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": notebooks.KERNELSPEC})
        small_lab.build(tmp_path, {"01_one": one}, test)
        return suite.run_tests(["-p", "no:cacheprovider"], thorough)

    return check


@pytest.mark.thorough
def test_all_parts_pass(tested, capfd):
    assert tested("def test_one():\n    assert True\n", "2\n") == 0
    summary = capfd.readouterr().out.rpartition("== summary")[2].split("\n")
    assert [line.split(":")[0] for line in summary[1:4]] == [
        "ruff check  passed",
        "ruff format passed",
        "pytest      passed",
    ]
    assert "2 passed in" in summary[3]


@pytest.mark.thorough
def test_what_takes_long_is_left_to_the_thorough_run(tested, capfd):
    lines = "import pytest\n\n\n@pytest.mark.thorough\ndef test_long():\n    assert {}\n"
    assert tested(lines.format("False") + "\n\ndef test_short():\n    assert True\n", "2\n") == 0
    assert "2 passed" in capfd.readouterr().out
    assert tested(lines.format("True") + "\n\ndef test_short():\n    assert False\n", "3\n", True) == 0
    summary = capfd.readouterr().out.rpartition("== summary")[2]
    assert "1 passed" in summary
    assert "ruff" not in summary
    assert tested(lines.format("False"), "2\n", True) == 1


@pytest.mark.thorough
def test_each_failing_part_is_named_and_none_hides_another(tested, capfd):
    assert tested("import os\ndef test_one(): assert False\n", "3\n") == 1
    summary = capfd.readouterr().out.rpartition("== summary")[2]
    assert summary.count("failed: ") == 3
    assert "2 failed in" in summary


def test_a_folder_that_cannot_be_written_is_found_before_a_test_runs(tmp_path, monkeypatch, capsys):
    def read_only(folder):
        raise OSError(f"{folder} cannot be written")

    monkeypatch.setattr(suite, "run_tests", lambda *arguments: pytest.fail("a test ran"))
    monkeypatch.setattr(lab, "check_writable", read_only)
    assert refused(["test"], capsys) == f"{lab.ROOT} cannot be written\n"


def test_missing_test_tools_get_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr(suite.importlib.util, "find_spec", lambda name: None if name == "nbval" else object())
    assert suite.run_tests([]) == 2
    assert "Not installed: nbval." in capsys.readouterr().out


@pytest.mark.parametrize(("processors", "workers"), [(1, None), (2, "2"), (64, "4")])
def test_workers_are_as_many_as_this_process_may_use(processors, workers, tmp_path, monkeypatch, capfd):
    small_lab.build(tmp_path, {"01_one": ["# One", "1"]})
    called = []
    monkeypatch.setattr(lab, "ROOT", tmp_path)
    monkeypatch.setattr(suite, "processors", lambda: processors)
    monkeypatch.setattr(suite, "_echo", lambda command, environment: called.append(command) or (0, ""))
    assert suite.run_tests([]) == 0
    words = called[-1]
    assert (words[words.index("-n") + 1] if "-n" in words else None) == workers


def test_a_copy_that_git_does_not_keep_is_not_tested(tmp_path, capfd, monkeypatch):
    small_lab.build(tmp_path, {name: ["# One", "1"] for name in ("01_one", "01_one-Copy1")})
    one, copy = tmp_path / "notebooks" / "01_one.ipynb", tmp_path / "notebooks" / "01_one-Copy1.ipynb"
    assert suite.committed(tmp_path) == [copy, one]  # git keeps none here
    for command in (["init", "-q"], ["add", "notebooks/01_one.ipynb"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    assert suite.committed(tmp_path) == [one]
    called = []
    monkeypatch.setattr(lab, "ROOT", tmp_path)
    monkeypatch.setattr(suite, "_echo", lambda command, environment: called.append(command) or (0, ""))
    assert suite.run_tests([]) == 0
    assert called[-1][3:5] == ["tests", "notebooks/01_one.ipynb"]
    assert "Not tested, since git does not keep them: 01_one-Copy1.ipynb" in capfd.readouterr().out


def test_a_working_folder_that_was_deleted_gets_a_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for command in ("doctor", "student"):
        assert cli.main([command]) == 2
        assert capsys.readouterr().err.startswith("The folder that you are in was deleted, cd to another: ")
