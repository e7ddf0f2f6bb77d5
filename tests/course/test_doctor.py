"""The doctor: whatever is hidden from it, it says so in that finding, and every other one still appears."""

import ctypes
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import IPython
import pytest
import torch
from idx_files import write
from IPython.core.formatters import DisplayFormatter
from packaging.specifiers import SpecifierSet

from labutils import data, graphs, presets, runs
from labutils.course import cli, doctor
from labutils.engine import clock, fonts

ROOT = Path(__file__).parents[2]
NAMES = [
    *("Python", "Packages", "Device", "Processor", "Memory", "Runs folder"),
    *("Data", "Graphs", "Widgets", "Chinese font", "Minutes"),
]
PREDICTION = {"smoke": {"mlp": 0.1, "dcgan": 0.2}, "quick": {"mlp": 4, "dcgan": 5}, "full": {"mlp": 20, "dcgan": 170}}


@pytest.fixture
def no_measurement(monkeypatch):
    monkeypatch.setattr(doctor, "predict_minutes", lambda seconds: PREDICTION)


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """The findings on this machine as it is, by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "predict_minutes", lambda seconds: PREDICTION)
        patch.setenv("LABUTILS_RUNS", str(tmp_path_factory.mktemp("runs")))
        return {finding.name: finding for finding in doctor.examine()}


def raising(error):
    def function(*arguments, **named):
        raise error

    return function


def without(*modules):
    return lambda patch, path: [patch.setitem(sys.modules, module, None) for module in modules]


def put(owner, name, value):
    return lambda patch, path: patch.setattr(owner, name, value, raising=False)


def variable(name, value):
    return lambda patch, path: patch.setenv(name, str(path / value))


def damaged_data(patch, path):
    shutil.copytree(data.ASSETS, path / "mnist")
    images = path / "mnist" / "train-images-idx3-ubyte.gz"
    images.write_bytes(images.read_bytes()[:-1000])
    patch.setattr(data, "ASSETS", path / "mnist")


def below_a_file(patch, path):
    (path / "file").write_text("not a folder")
    patch.setenv("LABUTILS_RUNS", str(path / "file" / "runs"))


def version_of(package, value):
    real = importlib.metadata.version

    def version(name):
        if name != package:
            return real(name)
        if value is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return value

    return put(importlib.metadata, "version", version)


def no_spec(package):
    real = importlib.util.find_spec
    return put(importlib.util, "find_spec", lambda name, *more: None if name == package else real(name, *more))


def free(space):
    return put(shutil, "disk_usage", lambda path: SimpleNamespace(free=space))


not_installed = raising(importlib.metadata.PackageNotFoundError("labutils"))
HIDDEN = {
    "old Python": (put(doctor, "OLDEST_PYTHON", (99, 0)), "Python", "missing", "too old", "Install Python 99.0"),
    "no metadata": (put(importlib.metadata, "requires", not_installed), "Packages", "missing", "not installed", "pip"),
    "old tqdm": (version_of("tqdm", "1.0"), "Packages", "missing", "tqdm is 1.0, needed >=", 'install "tqdm>='),
    "no tqdm": (version_of("tqdm", None), "Packages", "missing", "tqdm is missing", 'install "tqdm>='),
    "no packaging": (without("packaging.requirements"), "Packages", "missing", "packaging.requirements halted", "pip"),
    "sick driver": (
        *(put(torch.cuda, "is_available", raising(RuntimeError("driver too old"))), "Device", "missing"),
        *("RuntimeError: driver too old", "ask with this line"),
    ),
    "busy": (put(os, "getloadavg", lambda: (99.0, 9.0, 9.0)), "Processor", "warn", "99.0", "Stop what can wait"),
    "little memory": (put(doctor, "_free_memory", lambda: (4e8, "free")), "Memory", "warn", "0.4 GB free", "Close"),
    "unknown memory": (put(doctor, "_free_memory", lambda: (None, "")), "Memory", "warn", "unknown on this", ""),
    "no runs folder": (below_a_file, "Runs folder", "missing", "cannot be written", "LABUTILS_RUNS"),
    "no permission": (
        *(put(doctor.tempfile, "TemporaryFile", raising(PermissionError(13, "Permission denied"))), "Runs folder"),
        *("missing", "cannot be written (Permission denied)", "LABUTILS_RUNS"),
    ),
    "disk full": (free(1e6), "Runs folder", "missing", "0.0 GB free", "Free some space"),
    "disk nearly full": (free(5e8), "Runs folder", "warn", "0.5 GB free", "Free some space"),
    "damaged data": (damaged_data, "Data", "missing", "its SHA-256 differs. Reinstall labutils.", ""),
    "no data": (variable("LABUTILS_DATA", "nowhere"), "Data", "missing", "Leave root and LABUTILS_DATA unset", ""),
    "no dot": (put(graphs, "renderers", list), "Graphs", "warn", "tables only", "graphviz-pure"),
    "no torchviz": (without("torchviz"), "Graphs", "warn", "torchviz cannot be imported", "torchviz"),
    "no ipywidgets": (without("ipywidgets"), "Widgets", "missing", "ipywidgets halted", "pip"),
    "no manager": (no_spec("jupyterlab_widgets"), "Widgets", "warn", "jupyterlab_widgets, which draws", "pip"),
    "no font": (put(fonts, "use_cjk", lambda: None), "Chinese font", "warn", "none", "Noto"),
    "a font": (put(fonts, "use_cjk", lambda: "My CJK"), "Chinese font", "ok", "My CJK, which figures fall back to", ""),
    "no matplotlib": (without("matplotlib"), "Chinese font", "warn", "matplotlib halted", "pip"),
    "no measurement": (
        *(put(doctor, "predict_minutes", raising(runs.RunError("Cannot write there."))), "Minutes"),
        *("warn", "Cannot write there.", ""),
    ),
}


@pytest.mark.parametrize("part", HIDDEN)
def test_what_is_hidden_is_named_and_the_rest_still_appears(part, usual, no_measurement, monkeypatch, tmp_path):
    hide, name, state, found, do = HIDDEN[part]
    hide(monkeypatch, tmp_path)
    checkup = doctor.examine()
    assert [finding.name for finding in checkup] == NAMES
    findings = {finding.name: finding for finding in checkup}
    assert findings[name].state == state
    sentence = re.compile(r"(?<![\d.])" + re.escape(found))  # "0.4 GB" is not in "20.4 GB"
    assert sentence.search(findings[name].found)
    assert do in findings[name].do
    if usual[name].state == "ok":
        assert not sentence.search(usual[name].found), "the sentence is there without the defect"
    others = [n for n in NAMES if n != name]
    steady = [n for n in others if n != "Processor"]
    assert [findings[n].state for n in steady] == [usual[n].state for n in steady]
    assert checkup.ready == (state != "missing" and all(usual[n].state != "missing" for n in others))


def test_a_complete_machine_is_ready_and_measured_without_a_trace(capfd):
    checkup = doctor.examine(seconds=0.1)
    assert [(finding.name, finding.found) for finding in checkup if finding.state == "missing"] == []
    assert checkup.ready
    findings = {finding.name: finding for finding in checkup}
    assert f"torch {importlib.metadata.version('torch')}" in findings["Packages"].found
    assert findings["Data"].found.startswith("60,000 training and 10,000 test images in the package")
    assert "smoke" in findings["Minutes"].found
    assert "full" in findings["Minutes"].found
    assert list(runs.runs_folder().iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_the_prediction_adds_up(monkeypatch):
    sizes = {"mlp": {"epochs": 3, "images": 257}, "dcgan": {"epochs": 2}}
    monkeypatch.setattr(presets, "PRESETS", {"quick": sizes})
    steps = {"mlp": 0.5, "dcgan": 2.0}
    monkeypatch.setattr(clock, "training_cost", lambda train, config, *rest: clock.Cost(6.0, steps[config.model], 1.0))
    expected = {"mlp": (6 + 3 * (3 * 0.5 + 1)) / 60, "dcgan": (6 + 2 * (469 * 2.0 + 1)) / 60}
    assert doctor.predict_minutes() == {"quick": pytest.approx(expected)}


def test_minutes_are_those_of_the_data_in_use(tmp_path, monkeypatch):
    write(tmp_path, torch.eye(28).mul(255).byte().expand(300, 28, 28), torch.zeros(300, dtype=torch.uint8))
    monkeypatch.setenv("LABUTILS_DATA", str(tmp_path))
    asked = []
    monkeypatch.setattr(clock, "training_cost", lambda train, config, *rest: asked.append(config) or (0, 1.0, 0))
    found = doctor.predict_minutes()["full"]
    assert {config.images for config in asked} == {300}
    assert found["mlp"] == pytest.approx(100 * 3 / 60)


def test_the_table_in_a_notebook_and_in_print(no_measurement, monkeypatch):
    monkeypatch.setattr(doctor, "_python", lambda: ("missing", "<3.2> & old", "buy | a new one"))
    class_ = type("ZMQInteractiveShell", (), {})
    monkeypatch.setattr(IPython, "get_ipython", class_)
    checkup = doctor.examine()
    shown, _ = DisplayFormatter().format(checkup)
    assert shown["text/plain"] == str(checkup)
    assert shown["text/html"].count("<tr") == len(NAMES) + 1
    assert "&lt;3.2&gt; &amp; old" in shown["text/html"]
    assert "This machine is not ready." in shown["text/html"]
    lines = str(checkup).splitlines()
    assert lines[0] == "Python        missing  <3.2> & old"
    assert lines[1].strip() == "-> buy | a new one"
    assert "this kernel cannot tell" in checkup[NAMES.index("Widgets")].found


def test_a_slow_machine_is_told_what_to_try(monkeypatch):
    monkeypatch.setattr(doctor, "predict_minutes", lambda seconds: PREDICTION | {"quick": {"mlp": 20, "dcgan": 5.25}})
    finding = doctor.examine()[-1]
    assert finding.state == "warn"
    assert "quick 25 (20 + 5.2)" in finding.found
    assert "LABUTILS_PRESET=smoke" in finding.do


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("warn", 0), ("missing", 1)])
def test_the_exit_code(state, code, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "examine", lambda: doctor.Checkup([doctor.Finding("Python", state, "3.12")]))
    assert cli.main(["doctor"]) == code
    assert ("not ready" in capsys.readouterr().out) == bool(code)


def test_memory_on_other_systems(monkeypatch):
    class Status(ctypes.Structure):  # MEMORYSTATUSEX as Microsoft documents it
        _fields_ = [
            *((name, ctypes.c_uint32) for name in ("length", "load")),
            *((name, ctypes.c_uint64) for name in ("total", "free", "a", "b", "c", "d", "e")),
        ]

    def fill(buffer):
        status = ctypes.cast(buffer, ctypes.POINTER(Status)).contents
        status.free = 7_000_000_000
        return status.length == ctypes.sizeof(Status)

    monkeypatch.setattr(Path, "read_text", raising(FileNotFoundError()))
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.get, raising=False)
    assert doctor._free_memory() == (4_096_000, "in all")
    monkeypatch.delattr(os, "sysconf")
    monkeypatch.setattr(
        ctypes, "windll", SimpleNamespace(kernel32=SimpleNamespace(GlobalMemoryStatusEx=fill)), raising=False
    )
    assert doctor._free_memory() == (7_000_000_000, "free")
    monkeypatch.delattr(ctypes, "windll")
    assert doctor._free_memory() == (None, "")


def test_a_load_that_the_system_does_not_tell(no_measurement, monkeypatch):
    monkeypatch.delattr(os, "getloadavg", raising=False)
    assert doctor.examine()[NAMES.index("Processor")].found.endswith("unknown on this system")


def test_the_oldest_python_is_that_of_the_package():
    accepted = SpecifierSet(importlib.metadata.metadata("labutils")["Requires-Python"])
    oldest = ".".join(map(str, doctor.OLDEST_PYTHON))
    assert f"{oldest}.0" in accepted
    assert f"{doctor.OLDEST_PYTHON[0]}.{doctor.OLDEST_PYTHON[1] - 1}.9" not in accepted


def run_doctor(folder: Path, *options: str) -> subprocess.CompletedProcess:
    """The doctor in a process of its own that looks for modules in `folder` first; no finding may fail, nor end it."""
    call = "from labutils.course import cli, doctor; print('torch' in sys.modules); sys.exit(cli.main(['doctor']))"
    code = f"import sys; {call}"
    path = os.pathsep.join(map(str, (folder, *([] if "-S" in options else [ROOT]))))
    environment = os.environ | {"PYTHONPATH": path, "COLUMNS": "1000"}
    done = subprocess.run(
        [sys.executable, *options, "-c", code], env=environment, cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.stderr == ""
    assert done.returncode == 1
    assert done.stdout.startswith("False\n"), "importing the doctor imports torch"
    assert [name for name in NAMES if f"\n{name:12}  " not in done.stdout] == []
    return done


def test_a_torch_that_cannot_load_its_libraries(tmp_path):
    (tmp_path / "torch.py").write_text("raise OSError('[WinError 126] fbgemm.dll or one of its dependencies')")
    done = run_doctor(tmp_path)
    assert "PyTorch cannot be imported (OSError: [WinError 126] fbgemm.dll" in done.stdout
    assert "Visual C++ runtime" in done.stdout
    assert f"Python        ok       {sys.version.split()[0]}" in done.stdout


def test_a_python_with_nothing_installed(tmp_path):
    for room in ("course", "engine"):
        (tmp_path / "labutils" / room).mkdir(parents=True)
    course = ("course/__init__.py", "course/cli.py", "course/doctor.py")
    for name in ("__init__.py", *course, "engine/__init__.py", "engine/paths.py", "engine/clock.py"):
        shutil.copy(ROOT / "labutils" / name, tmp_path / "labutils" / name)
    done = run_doctor(tmp_path, "-S")
    assert "labutils is not installed" in done.stdout
    assert "No module named 'ipywidgets'" in done.stdout
