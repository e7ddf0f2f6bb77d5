"""The command: a class with broken and hostile hand-ins among honest ones is graded whole; nothing else is touched."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import class_of
import pytest
import torch
from idx_files import write

from labutils import quality
from labutils.course import cli

NUMBERS = [class_of.number_of(i) for i in range(1, 5)]
SLERP, RIGHT = class_of.exercise("slerp")
ATTACK = "import os\n\n\ndef slerp(a, b, t):\n    os._exit(0)\n"
RUBRIC = """
runs = ["mlp"]
number = 'handin-(\\d+)'
[[parts]]
key = "runs"
points = 20
from = "runs"
[[parts]]
key = "exercises"
points = 20
from = "exercises"
[[parts]]
key = "answers"
points = 60
from = "marks"
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A folder of hand-ins, and a rubric beside it."""
    top = tmp_path_factory.mktemp("grade")
    hand_ins, right = top / "class", {SLERP: RIGHT}
    hand_ins.mkdir()
    (top / "rubric.toml").write_text(RUBRIC)
    runs = {number: class_of.trained(top / number, number) for number in NUMBERS[:2]}

    def hand_in(number, run, solved, **said):
        content = class_of.files(number, {"mlp": run} if run else {}, class_of.own_answers(int(number)), solved, **said)
        return class_of.packed(content)

    for number, made in {
        NUMBERS[0]: hand_in(NUMBERS[0], runs[NUMBERS[0]], right, name="王小明"),
        NUMBERS[1]: hand_in(NUMBERS[1], runs[NUMBERS[1]], {SLERP: ATTACK}, name="=1+1", exercises={SLERP: "right"}),
        NUMBERS[2]: hand_in(NUMBERS[2], runs[NUMBERS[0]], right, name="a copy"),
        NUMBERS[3]: b"Rar!" + bytes(99),
    }.items():
        (hand_ins / f"handin-{number}.zip").write_bytes(made)
    return top


@pytest.fixture
def here(lab, capsys, monkeypatch):
    """Grade in this process, whose server of processes prepares once: (exit code, what was printed)."""
    for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "MPLBACKEND"):  # the command sets them
        monkeypatch.setenv(name, os.environ.get(name, ""))

    def run(*options):
        code = cli.main(["grade", str(lab / "class"), "--rubric", str(lab / "rubric.toml"), *options])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def grade(lab, *options, **more):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "LABUTILS_RUNS": str(lab / "runs")}
    command = [sys.executable, "-m", "labutils", "grade", str(lab / "class"), "--rubric", str(lab / "rubric.toml")]
    return subprocess.Popen([*command, *options], env=environment, text=True, stdout=-1, stderr=-1, **more)


def table(out):
    return {row["number"]: row for row in csv.DictReader((out / "grades.csv").read_text("utf-8-sig").splitlines())}


@pytest.mark.thorough
def test_a_class_is_graded_and_graded_again(lab, here):
    # Long: each hand-in takes seconds, so one class goes through its whole life here.
    before = set(lab.rglob("*"))
    out = lab / "class-graded"
    code, said = here("--execute", "--no-rescore", "--workers", "2")
    assert code == 0, said
    assert said.count("CPU s") == 3
    assert "RAR" in said
    new = {path.relative_to(lab).parts[0] for path in set(lab.rglob("*")) - before}
    assert new == {"class-graded"}  # and nothing outside it
    assert {path.name for path in out.iterdir()} == {
        "class.html", "questions.html", "feedback", "rows", "grades.csv", "nbgrader.csv", "marks.csv", "comments.toml",
        "records.json",
    }  # fmt: skip
    rows = table(out)
    assert [rows[number]["runs"] for number in NUMBERS] == ["20.0", "20.0", "0.0", "0.0"]
    assert [float(rows[number]["exercises"]) > 0 for number in NUMBERS[:3]] == [True, False, True]
    assert rows[NUMBERS[0]]["flags"] == ""
    assert "seed" in rows[NUMBERS[2]]["flags"]
    assert "twin" in rows[NUMBERS[2]]["flags"] or "history" in rows[NUMBERS[2]]["flags"]
    assert rows[NUMBERS[1]]["name"] == "'=1+1"
    assert "suspect" in rows[NUMBERS[1]]["look_at"]
    assert "RAR" in rows[NUMBERS[3]]["note"]
    page = (out / "class.html").read_text("utf8")
    assert "no processes (seccomp)" in page or sys.platform != "linux"
    assert page.index(f"{NUMBERS[3]}<br>") < page.index(f"{NUMBERS[2]}<br>") < page.index(f"{NUMBERS[0]}<br>")

    marks = f"number,answers,comments,comment\n{NUMBERS[0]},50,well,很好\n"
    (out / "marks.csv").write_text(marks, "utf8")
    (out / "comments.toml").write_text('well.zh = "好"\n', "utf8")
    (lab / "class" / f"handin-{NUMBERS[3]}.zip").write_bytes(b"")
    _, said = here("--execute", "--no-rescore")
    assert "4 hand-ins, 3 of them graded before" in said
    assert (out / "marks.csv").read_text("utf8") == marks
    assert (out / "comments.toml").read_text("utf8") == 'well.zh = "好"\n'
    assert (out / "marks_new.csv").exists()
    assert float(table(out)[NUMBERS[0]]["total"]) > 70
    assert table(out)[NUMBERS[0]]["to_mark"] == ""
    assert "很好" in (out / "feedback" / f"{NUMBERS[0]}.html").read_text("utf8")


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent otherwise")
def test_ctrl_c_keeps_what_is_done_and_leaves_no_process(lab, here):
    out = lab / "stopped"
    process = grade(lab, "--out", str(out), "--no-rescore", "--workers", "1", start_new_session=True)
    for _ in range(2):
        process.stdout.readline()  # the head, and the first hand-in
    os.killpg(process.pid, signal.SIGINT)
    said, error = process.communicate(timeout=100)
    assert (process.returncode, error) == (130, "")
    assert "the same command goes on" in said
    kept = len(list((out / "rows").glob("*.json")))
    assert 1 <= kept < 4
    assert not (out / ".work").exists()
    until = time.monotonic() + 10
    while _of_session(process.pid) and time.monotonic() < until:
        time.sleep(0.1)
    assert _of_session(process.pid) == []
    _, said = here("--out", str(out), "--no-rescore", "--workers", "2")
    assert f"4 hand-ins, {kept} of them graded before" in said


def _of_session(session: int) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(of) == session and state != "Z":
            found.append(path.parent.name)
    return found


def test_data_that_cannot_be_scored_here_are_no_evidence_against_a_class(tmp_path, capsys, monkeypatch):
    empty = torch.eye(28).mul(255).byte().expand(5, 28, 28), torch.zeros(5, dtype=torch.uint8)
    for split in ("train", "t10k"):
        write(tmp_path / "data", *empty, split)
    monkeypatch.setenv("LABUTILS_DATA", str(tmp_path / "data"))
    quality.digit_classifier.cache_clear()
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "handin.zip").write_bytes(b"")
    assert cli.main(["grade", str(tmp_path / "class")]) == 2
    assert "scores need ten" in capsys.readouterr().err
    monkeypatch.setenv("LABUTILS_DATA", str(tmp_path / "nowhere"))
    assert cli.main(["grade", str(tmp_path / "class"), "--no-rescore"]) == 2
    assert "No train-images-idx3-ubyte" in capsys.readouterr().err


def test_a_comment_that_no_bank_has_is_named_before_anything_is_graded(tmp_path, capsys):
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "handin.zip").write_bytes(b"")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "marks.csv").write_text("number,comments\n1,well figure\n")
    assert cli.main(["grade", str(tmp_path / "class"), "--out", str(tmp_path / "out")]) == 2
    assert "names the comment 'figure', which is not in comments.toml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "Name the folder of the hand-ins"),
        (["nowhere"], "does not exist; name the folder"),
        ([".", "--out", "."], "Pages and tables cannot go to"),
        ([".", "--out", __file__], "Pages and tables cannot go to"),
        ([".", "--rubric", "nowhere.toml"], "nowhere.toml cannot be read"),
    ],
)
def test_what_cannot_be_begun_is_a_sentence(options, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["grade", *options]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
