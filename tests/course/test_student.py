"""Who works here: the seed made of course and number, and the file that keeps it."""

import json

import pytest

from labutils.course import cli, student, workcopy


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.setenv("LABUTILS_WORK", str(tmp_path / "work 作业"))


def said(arguments: list[str], capsys, code: int = 0) -> str:
    assert cli.main(["student", *arguments]) == code
    out, err = capsys.readouterr()
    return err if code else out


def test_ten_thousand_numbers_have_ten_thousand_seeds():
    seeds = {student.seed_of("gan-lab", str(number)) for number in range(2023000000, 2023010000)}
    assert len(seeds) == 10_000
    assert all(0 <= seed < 2**48 for seed in seeds)


def test_the_seed_is_as_it_was_told():
    """The first six bytes of `printf 'gan-lab\\n2023000001' | sha256sum`: a grader makes it by another program."""
    assert student.seed_of("gan-lab", "2023000001") == 128970958758141 == 0x754C642EE0FD
    assert student.seed_of("another", "2023000001") != student.seed_of("gan-lab", "2023000001")


def test_number_and_name_are_kept(capsys):
    assert "Nobody is named yet: python -m labutils student YOUR_NUMBER" in said([], capsys, 2)
    printed = said(["2023000001", "--name", " 王  小明 "], capsys)
    assert printed.startswith("Student 2023000001, 王 小明, course gan-lab: seed 128970958758141\n")
    assert said([], capsys) == printed
    kept = json.loads((workcopy.folder() / "student.json").read_text("utf8"))
    assert kept == {"number": "2023000001", "name": "王 小明", "course": "gan-lab", "seed": 128970958758141}
    assert student.student() == kept


def test_a_change_is_said_and_keeps_what_is_not_changed(capsys):
    said(["2023000001", "--name", "Li"], capsys)
    printed = said(["--course", "AI 2026 人工智能"], capsys)
    assert "Li, course AI 2026 人工智能: seed" in printed
    assert "Before, the seed was 128970958758141: runs of that one are no longer yours." in printed
    assert student.student()["name"] == "Li"
    said(["2023000002"], capsys)
    assert student.student()["name"] == ""  # somebody else's


@pytest.mark.parametrize("number", ["２０２３０００００１", " 2023000001 ", "2023000001"])
def test_a_number_may_be_typed_in_several_ways(number, capsys):
    said([number], capsys)
    assert student.student()["number"] == "2023000001"


@pytest.mark.parametrize(
    "number", ["", "王小明", "../2023", "2023 0001", "a" * 33, "2023/1", "-", "con:", "1\n2", "20.", "1_"]
)
def test_what_is_no_number_is_refused(number, capsys):
    assert "is no student number; expected up to 32 digits or letters" in said(["--", number], capsys, 2)
    assert not (workcopy.folder() / "student.json").exists()


@pytest.mark.parametrize(
    "content", ["", "[]", "null", '{"number": 1}', '{"number": "1", "name": "", "course": "c", "seed": 7}']
)
def test_a_file_that_was_changed_is_named(content, capsys):
    workcopy.folder().mkdir()
    (workcopy.folder() / "student.json").write_text(content)
    assert "student.json is damaged or was changed: delete it" in said([], capsys, 2)


def test_a_full_disk_is_a_sentence(monkeypatch, capsys):
    from labutils.engine import files

    def full(descriptor):
        raise OSError(28, "No space left on device")

    said(["2023000001"], capsys)
    monkeypatch.setattr(files.os, "fsync", full)
    assert "the disk is full; free some space" in said(["2023000002"], capsys, 2)
    assert student.student()["number"] == "2023000001"
