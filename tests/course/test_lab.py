"""Executing notebooks: one in its kernel, and all of them whatever becomes of one."""

import base64
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import nbformat
import pytest
import small_lab
from PIL import Image
from small_lab import outputs

from labutils.course import notebooks
from labutils.course.lab import execute_all, find
from labutils.course.notebooks import execute, read


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return small_lab.build(tmp_path_factory.mktemp("lab"), small_lab.NOTEBOOKS)


@pytest.fixture(scope="module")
def ran(lab):
    """The exit code of all four notebooks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABUTILS_RUNS", str(lab / "runs"))
        return execute_all(preset="smoke", update=True, root=lab)


@pytest.mark.thorough
def test_a_notebook_is_executed_where_it_lies_with_the_preset_in_force(lab, ran):
    assert outputs(lab / "build" / "notebooks" / "01_good.ipynb")[0][0].text == "smoke notebooks\n"


def test_a_failing_notebook_does_not_keep_the_next_from_running(lab, ran):
    assert ran == 1
    assert outputs(lab / "build" / "notebooks" / "04_good.ipynb")[0][0].data["text/plain"] == "2"


def test_what_came_before_a_failure_is_kept(lab, ran):
    failed = outputs(lab / "build" / "notebooks" / "02_fails.ipynb")
    assert [len(cell) for cell in failed] == [1, 1, 0]
    assert failed[0][0].text == "before\n"
    assert failed[1][0].ename == "ZeroDivisionError"


def test_update_writes_back_what_did_not_fail(lab, ran):
    assert outputs(lab / "notebooks" / "04_good.ipynb")[0]
    assert not any(outputs(lab / "notebooks" / "02_fails.ipynb"))


def test_two_executions_write_the_same_bytes(lab, ran):
    path = lab / "notebooks" / "01_good.ipynb"
    first = path.read_bytes()
    done = execute(path, os.environ | {"LABUTILS_PRESET": "smoke"}, 60)
    assert done.error == ""
    assert nbformat.writes(done.notebook).strip() == first.decode().strip()


def test_of_a_widget_the_text_stays_and_of_a_progress_bar_nothing(lab, ran):
    *_, bar, slider = outputs(lab / "notebooks" / "01_good.ipynb")
    assert bar == []
    assert list(slider[0].data) == ["text/plain"]


def test_an_address_in_memory_goes(lab, ran):
    shown = outputs(lab / "notebooks" / "01_good.ipynb")[1]
    assert [output.get("text") or output.data["text/plain"] for output in shown] == [
        "<object object at 0x...>\n",
        "<object at 0x...>",
    ]


def test_the_seconds_of_each_cell_are_kept(lab, ran):
    rows = list(csv.DictReader((lab / "build" / "seconds.csv").open()))
    cells = {name: len(content) - 1 for name, content in small_lab.NOTEBOOKS.items()}
    cells["02_fails"] = 2  # of three, the second fails
    assert [(row["notebook"], int(row["cell"])) for row in rows] == [
        (name, number) for name, count in cells.items() for number in range(1, count + 1)
    ]
    assert all(0 <= float(row["seconds"]) < 300 for row in rows)


def test_the_page_holds_all_of_them(lab, ran):
    page = (lab / "build" / "lab.html").read_text("utf8")
    assert page.count("<section") == 4
    assert "02_fails: cell 2 of 3 raised ZeroDivisionError: division by zero" in page
    assert small_lab.PNG in page


@pytest.mark.thorough
def test_a_failing_cell_a_dead_kernel_and_a_slow_cell_each_get_a_sentence(lab, tmp_path):
    folder = lab / "notebooks"
    assert execute(folder / "02_fails.ipynb", dict(os.environ), 60).error == (
        "02_fails: cell 2 of 3 raised ZeroDivisionError: division by zero"
    )
    assert execute(folder / "03_dies.ipynb", dict(os.environ), 60).error.startswith(
        "03_dies: the kernel died in cell 2 of 2, most often for want of memory"
    )
    small_lab.build(tmp_path, {"05_slow": ["# Slow", "while True:\n    pass"]})
    assert execute(tmp_path / "notebooks" / "05_slow.ipynb", dict(os.environ), 2).error == (
        "05_slow: cell 1 of 1 was stopped after 2 s; --cell-timeout allows more."
    )


def test_a_kernel_that_does_not_start_gets_a_sentence(tmp_path, monkeypatch):
    small_lab.build(tmp_path, {"01_one": ["# One", "1"]})
    monkeypatch.setattr("labutils.course.notebooks.get_kernel_dict", lambda: {"argv": ["/nowhere/python"]})
    error = execute(tmp_path / "notebooks" / "01_one.ipynb", dict(os.environ), 60).error
    assert error.startswith("01_one: no kernel would start (")
    assert error.endswith("`python -m labutils doctor` says what is missing.")


def test_the_signals_of_the_caller_stay_his_own(lab):
    """`kill` ends the caller, not the kernel beneath a notebook that goes on without it."""

    def handlers():
        return signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    before, found = handlers(), []
    done = execute(lab / "notebooks" / "04_good.ipynb", dict(os.environ), 60, lambda line: found.append(handlers()))
    assert (done.error, found) == ("", [before])


@pytest.mark.thorough
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_keeps_what_was_executed(tmp_path):
    cells = ["print('before')", "import time\n\nopen('here', 'w').close()\ntime.sleep(60)"]
    small_lab.build(tmp_path, {"01_slow": ["# Slow", *cells]})
    call = f"import pathlib, sys; from labutils.course import lab; root = pathlib.Path({str(tmp_path)!r})"
    call += "; sys.exit(lab.execute_all(root=root))"
    process = subprocess.Popen([sys.executable, "-c", call], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "notebooks" / "here").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Failed: 01_slow: Ctrl-C in cell 2 of 2" in printed
    assert outputs(tmp_path / "build" / "notebooks" / "01_slow.ipynb")[0][0].text == "before\n"


def test_the_failures_are_printed_with_where_to_look(lab, monkeypatch, capsys):
    monkeypatch.setenv("LABUTILS_RUNS", str(lab / "runs"))
    assert execute_all(["02"], "smoke", root=lab) == 1
    printed = capsys.readouterr().out
    assert "0 of 1 notebooks without error" in printed
    assert "Failed: 02_fails: cell 2 of 3 raised ZeroDivisionError: division by zero" in printed
    assert str(lab / "build" / "lab.html") in printed


def test_folders_of_the_caller_are_those_of_the_kernels(tmp_path, monkeypatch):
    cell = "import os\nprint(os.environ['LABUTILS_RUNS'], os.environ['LABUTILS_DATA'])"
    small_lab.build(tmp_path, {"01_where": ["# Where", cell]})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABUTILS_RUNS", "mine")
    monkeypatch.setenv("LABUTILS_DATA", "data")
    assert execute_all(root=tmp_path) == 0
    told = outputs(tmp_path / "build" / "notebooks" / "01_where.ipynb")[0][0].text.split()
    assert told == [str(tmp_path / "mine"), str(tmp_path / "data")]


def test_notebooks_are_found_by_their_name_or_its_start(lab, tmp_path):
    folder = lab / "notebooks"
    assert [path.stem for path in find([], folder)] == list(small_lab.NOTEBOOKS)
    assert [path.stem for path in find(["04", "notebooks/02_fails.ipynb"], folder)] == ["02_fails", "04_good"]
    with pytest.raises(ValueError, match=r"'0' fits 4 notebooks .* name one of: 01_good, 02_fails"):
        find(["0"], folder)
    with pytest.raises(ValueError, match="fits 0 notebooks"):
        find([], folder / "nothing")


def test_the_whole_name_goes_before_its_start(tmp_path):
    names = ["05_training", "05_training-Copy1"]
    folder = small_lab.build(tmp_path, {name: ["# Training", "1"] for name in names}) / "notebooks"
    assert [path.stem for path in find([], folder)] == names
    for name in ("05_training", "05_training.ipynb"):
        assert [path.stem for path in find([name], folder)] == ["05_training"]
    with pytest.raises(ValueError, match=r"'05' fits 2 notebooks .* 05_training, 05_training-Copy1"):
        find(["05"], folder)


WHOLE = nbformat.writes(small_lab.notebook("# Whole", "1 + 1"))
DAMAGED = {  # content of a file -> what is said of it
    "conflict": (f"<<<<<<< HEAD\n{WHOLE}=======\n{WHOLE}>>>>>>> theirs\n".encode(), "git left conflict markers in it"),
    "conflict within": (WHOLE.replace("{", "{\n<<<<<<< HEAD\n", 1).encode(), "git left conflict markers in it"),
    "empty": (b"", "it is empty"),
    "blank": (b" \n", "it is empty"),
    "mark": (b"\xef\xbb\xbf" + WHOLE.encode(), "it begins with a byte order mark; save it as UTF-8 without one"),
    "UTF-16": (WHOLE.encode("utf-16"), "it begins with a byte order mark; save it as UTF-8"),
    "Latin-1": (WHOLE.replace("Whole", "Fréchet").encode("latin-1"), "can't decode byte 0xe9"),
    "half": (WHOLE[: len(WHOLE) // 2].encode(), "NotJSONError"),
    "other JSON": (b'{"a": 1}', "missing a key: cells"),
    "a list": (b"[]", "'list' object"),
    "a number": (b"5", "'int' object"),
    "deep": (b"[" * 100_000, "RecursionError"),
    "cells that are none": (b'{"cells": [1], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', "TypeError"),
    "a cell of no type": (WHOLE.replace('"markdown"', '"picture"').encode(), "is not valid under any"),
    "a format to come": (WHOLE.replace('"nbformat": 4', '"nbformat": 9').encode(), "Unsupported nbformat version 9"),
    "half a character": (WHOLE.replace("Whole", "\\ud800").encode(), "surrogates not allowed"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_file_that_is_no_notebook_gets_a_sentence(damage, tmp_path):
    content, why = DAMAGED[damage]
    path = small_lab.build(tmp_path, {"03_odd": content}) / "notebooks" / "03_odd.ipynb"
    whole = r"^03_odd\.ipynb cannot be read as a notebook \(.*\)\. Repair or restore it\.$"
    with pytest.raises(ValueError, match=whole) as refusal:
        read(path)
    assert why in str(refusal.value)
    assert path.read_bytes() == content


def test_what_is_no_regular_file_is_not_opened(tmp_path):
    (tmp_path / "folder.ipynb").mkdir()
    if os.name != "nt":
        (tmp_path / "broken.ipynb").symlink_to(tmp_path / "nowhere")
        os.mkfifo(tmp_path / "pipe.ipynb")
    for path in find([], tmp_path):
        with pytest.raises(ValueError, match=f"^{path.name} is no regular file"):
            read(path)


def test_outputs_that_are_damaged_do_no_harm(tmp_path):
    notebook = json.loads(WHOLE)
    notebook["cells"][1]["outputs"] = [{"output_type": "surprise"}]
    del notebook["cells"][1]["execution_count"]
    small_lab.build(tmp_path, {"01_one": json.dumps(notebook).encode()})
    assert read(tmp_path / "notebooks" / "01_one.ipynb").cells[1].outputs == []


def test_unreadable_ones_fail_by_name_and_the_rest_runs(tmp_path, capsys):
    files = {name: DAMAGED[name][0] for name in ("conflict", "empty", "mark", "UTF-16", "other JSON")}
    whole = {"00_whole": WHOLE.encode(), "zz_whole": WHOLE.encode()}
    small_lab.build(tmp_path, whole | files)
    assert execute_all(preset="smoke", update=True, root=tmp_path) == 1
    printed = capsys.readouterr().out
    page = (tmp_path / "build" / "lab.html").read_text("utf8")
    assert "2 of 7 notebooks without error" in printed
    for name, content in files.items():
        assert f"Failed: {name}.ipynb cannot be read as a notebook (" in printed
        assert f"{name}.ipynb cannot be read as a notebook (" in page
        assert (tmp_path / "notebooks" / f"{name}.ipynb").read_bytes() == content
    assert [outputs(tmp_path / "build" / "notebooks" / f"{name}.ipynb")[0][0].data["text/plain"] for name in whole] == [
        *("2", "2")
    ]


def test_odd_output_of_a_cell_does_no_harm(tmp_path, capsys):
    cells = [
        "from IPython.display import display\n\ndisplay({'text/plain': 5, 'text/html': ['a']}, raw=True)",
        "print('half a character: \\ud800')",
    ]
    small_lab.build(tmp_path, {"01_odd": ["# Odd", *cells], "02_whole": ["# Whole", "1 + 1"]})
    execute_all(preset="smoke", root=tmp_path)
    assert outputs(tmp_path / "build" / "notebooks" / "02_whole.ipynb")[0][0].data["text/plain"] == "2"
    assert "Whole" in (tmp_path / "build" / "lab.html").read_text("utf8")


def test_a_build_folder_that_cannot_be_written_is_found_first(tmp_path):
    small_lab.build(tmp_path, {"01_one": ["# One", "open('executed', 'w')"]})
    (tmp_path / "build").write_text("a file")
    with pytest.raises(OSError, match=r"build cannot be written \(.*\): work in a copy of the lab that is your own\."):
        execute_all(root=tmp_path)
    assert not (tmp_path / "notebooks" / "executed").exists()


@pytest.mark.parametrize(("mode", "kept"), [("grey", "L"), ("colour", "RGB"), ("glass", "RGBA")])
def test_pictures_are_kept_with_the_same_pixels_in_fewer_bytes(mode, kept):
    image = Image.effect_noise((40, 40), 80).convert("RGBA")
    if mode != "grey":
        image.putpixel((3, 3), (255, 0, 0, 255 if mode == "colour" else 9))
    png = io.BytesIO()
    image.save(png, "PNG")
    before = base64.b64encode(png.getvalue()).decode()
    after = notebooks._smaller(before)
    found = Image.open(io.BytesIO(base64.b64decode(after)))
    assert found.mode == kept
    assert found.convert("RGBA").tobytes() == image.tobytes()
    assert len(after) < len(before) or mode == "glass"
