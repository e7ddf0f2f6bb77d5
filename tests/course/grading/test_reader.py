"""Hand-ins that are broken, or made to do harm: each is one sentence, and nothing is written anywhere."""

import io
import json
import os
import stat
import struct
import zipfile

import class_of
import pytest

from labutils.course.grading import one, reader
from labutils.course.grading.reader import Source, Unreadable

GOOD = {
    "manifest.json": json.dumps({"format": 1, "number": "2023000001", "name": "王小明", "runs": {}}).encode(),
    "answers.json": json.dumps({"1.1": "答案", "5.1": "an answer"}, ensure_ascii=False).encode(),
    "scores.json": b"{}",
    "notebooks/01_theory.ipynb": json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode(),
}


def zipped(content: dict, change=None) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, each in content.items():
            archive.writestr(name, each)
        if change:
            change(archive)
    return made.getvalue()


def link(archive):
    info = zipfile.ZipInfo("runs/a/config.json")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(info, "/etc/passwd")


def bomb(archive):
    for i in range(5):
        archive.writestr(f"bomb{i}", bytes(50 * 2**20), compresslevel=1)


def encrypted(content: bytes) -> bytes:
    raw = bytearray(content)
    for magic, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = raw.find(magic)
        while start >= 0:
            raw[start + at] |= 1
            start = raw.find(magic, start + 4)
    return bytes(raw)


def lying(content: bytes) -> bytes:
    """The list of files says that answers.json has ten bytes."""
    raw = bytearray(content)
    start = raw.find(b"PK\1\2", raw.find(b"PK\1\2") + 4)
    raw[start + 24 : start + 28] = struct.pack("<I", 10)
    return bytes(raw)


def longer(content: bytes) -> bytes:
    """Beside the short list of files stands a long one, of 70,000, which is the one that counts."""
    end = content.rfind(b"PK\5\6")
    size, at = struct.unpack("<II", content[end + 12 : end + 20])
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 70_000, 70_000, size, at)
    return content[:end] + record + struct.pack("<4sLQL", b"PK\6\7", 0, end, 1) + content[end:]


def many(content: bytes) -> bytes:
    """The list of files says that it has more than can be said there."""
    end = content.rfind(b"PK\5\6")
    return content[: end + 8] + b"\xff" * 4 + content[end + 12 :]


def read(tmp_path, content: bytes, name: str = "handin-2023000001.zip"):
    path = tmp_path / "class" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    (source,) = reader.sources(path.parent, tmp_path / "out")
    return reader.read(source)


deep = b'{"1.1": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
WHOLE = {  # hand-ins of which nothing can be read -> what is said
    "a zip bomb": (zipped(GOOD, bomb), "Unpacked it would have 262,14"),
    "a hundred thousand files": (many(zipped(GOOD)), "lists 65,535 files or more"),
    "more files than it says": (longer(zipped(GOOD)), "lists 70,000 files or more"),
    "several zips under a number": (zipped({f"{i}.zip": zipped(GOOD) for i in (1, 2)}), "holds nothing of a hand-in"),
    "a Word file": (zipped({"[Content_Types].xml": b"", "word/document.xml": b""}), "holds nothing of a hand-in"),
    "a path upwards": (zipped(GOOD | {"../../evil.txt": b"x"}), "'../../evil.txt' would lie outside its folder"),
    "a path upwards, as Windows writes it": (zipped(GOOD | {"..\\evil.txt": b"x"}), "would lie outside its folder"),
    "an absolute path": (zipped(GOOD | {"/tmp/evil.txt": b"x"}), "would lie outside its folder"),
    "a drive": (zipped(GOOD | {"C:/evil.txt": b"x"}), "would lie outside its folder"),
    "a symbolic link": (zipped(GOOD, link), "is a link or no ordinary file"),
    "encrypted": (encrypted(zipped(GOOD)), "is encrypted"),
    "two files of one name": (zipped(GOOD | {"Answers.json": b"{}"}), "Two files of the name"),
    "a renamed rar": (b"Rar!\x1a\x07\x01\x00" + bytes(200), "It is a RAR archive"),
    "a renamed 7z": (b"7z\xbc\xaf\x27\x1c" + bytes(200), "It is a 7z archive"),
    "empty": (b"", "The file is empty."),
    "cut off": (zipped(GOOD)[:-40], "no zip, or one cut off"),
    "a zip of nothing": (zipped({}), "It holds nothing of a hand-in"),
    "rubbish that ends like a zip": (b"PK\3\4" + bytes(99) + b"PK\5\6" + bytes(18), "holds nothing of a hand-in"),
}


@pytest.mark.parametrize("what", WHOLE)
def test_what_cannot_be_read_is_one_sentence(what, tmp_path):
    content, said = WHOLE[what]
    with pytest.raises(Unreadable) as found:
        read(tmp_path, content)
    assert said in str(found.value)
    assert str(found.value).endswith(".")
    assert "\n" not in str(found.value)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["handin-2023000001.zip"]


PARTS = {  # a part that cannot be read, beside others that can -> what is said
    "deep JSON": ({"answers.json": deep}, "answers.json is no JSON"),
    "huge JSON": ({"answers.json": b'{"1.1": "' + b"x" * 5_000_000 + b'"}'}, "'answers.json' has 5,000,011 bytes"),
    "a number of many digits": ({"answers.json": b'{"1.1": ' + b"9" * 5_000 + b"}"}, "answers.json is no JSON"),
    "a list": ({"answers.json": b"[1]"}, "answers.json holds no JSON object"),
    "not UTF-8": ({"scores.json": b"\xff\xfe\x00"}, "scores.json is no JSON"),
    "not a notebook": ({"notebooks/01_theory.ipynb": b'{"cells": 3}'}, "notebooks/01_theory.ipynb is not a notebook"),
    "too many cells": ({"notebooks/01_theory.ipynb": json.dumps({"cells": [{}] * 1_001}).encode()}, "than 1,000 cells"),
    "a manifest that is missing": ({"manifest.json": None}, "manifest.json is missing"),
}


@pytest.mark.parametrize("what", PARTS)
def test_a_part_that_cannot_be_read_is_said_and_the_rest_is_read(what, tmp_path):
    changes, said = PARTS[what]
    content = {name: each for name, each in (GOOD | changes).items() if each is not None}
    found = read(tmp_path, zipped(content))
    assert said in " ".join(found.problems)
    assert found.answers or found.notebooks


def test_sizes_that_lie_are_seen(tmp_path):
    found = read(tmp_path, lying(zipped(GOOD)))
    assert "answers.json" in " ".join(found.problems)
    assert found.answers == {}


def test_texts_are_texts(tmp_path):
    manifest = {
        "number": ["x"],
        "name": {"a": 1},
        "course": "a\u202eb\x00c",
        "runs": 7,
        "exercises": [1],
        "language": 3,
    }
    answers = {"1.1": 7, "1.2": "x" * 30_000, "1.3": "\ud800", "1.4": "line\nline\x1b[31m"}
    content = GOOD | {"manifest.json": json.dumps(manifest).encode(), "answers.json": json.dumps(answers).encode()}
    found = read(tmp_path, zipped(content))
    assert found.manifest["course"] == "a b c"
    assert set(found.answers) == {"1.2", "1.3", "1.4"}
    assert len(found.answers["1.2"]) == 20_000
    assert found.answers["1.4"] == "line\nline [31m"
    assert found.answers["1.3"].encode("utf8")


def test_names_of_windows_in_china_are_read(tmp_path):
    content = bytearray(zipped(GOOD | {"folder/notes.txt": b"x"}))
    raw = "作业".encode("gbk").ljust(6, b"_")
    found = read(tmp_path, bytes(content).replace(b"folder", raw))
    assert found.manifest["name"] == "王小明"
    nested = zipped({f"folder/{name}": each for name, each in GOOD.items()}).replace(b"folder", raw)
    assert read(tmp_path, nested).manifest["name"] == "王小明"  # a folder around everything is taken off


def test_a_folder_is_a_hand_in_too_but_no_link_in_it_is_followed(tmp_path):
    folder = tmp_path / "class" / "2023000001"
    for name, each in GOOD.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(each)
    (source,) = reader.sources(tmp_path / "class", tmp_path / "out")
    assert reader.read(source).manifest["number"] == "2023000001"
    (folder / "answers.json").unlink()
    os.symlink("/etc/passwd", folder / "answers.json")
    with pytest.raises(Unreadable, match="is a link or no ordinary file"):
        reader.read(source)


def test_what_lies_in_the_folder_beside_hand_ins(tmp_path):
    folder = tmp_path / "class"
    (folder / "Li_123_file").mkdir(parents=True)
    (folder / "Li_123_file" / "handin-7.zip").write_bytes(zipped(GOOD))
    (folder / "notes.pdf").write_bytes(b"%PDF-1.7 ...")
    os.symlink("/etc", folder / "etc")
    os.mkfifo(folder / "pipe")
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "graded").mkdir()
    found = {source.name: source.problem for source in reader.sources(folder, folder / "graded")}
    assert found["Li_123_file/handin-7.zip"] == ""
    assert "It is a PDF" in found["notes.pdf"]
    assert "link" in found["etc"]
    assert "no ordinary file" in found["pipe"]
    assert len(found) == 4


def test_a_bulk_zip_of_a_platform(tmp_path):
    inner = {f"Wang_{i}_assignsubmission_file/handin-202300000{i}.zip": zipped(GOOD) for i in (1, 2, 3)}
    inner["Li_4_assignsubmission_file/handin-2023000004.zip"] = b"Rar!" + bytes(99)
    (tmp_path / "bulk.zip").write_bytes(zipped(inner))
    found = reader.sources(tmp_path / "bulk.zip", tmp_path / "out")
    assert len({source.key for source in found}) == 4
    good = [source for source in found if "Wang" in source.name]
    assert [reader.read(source).manifest["number"] for source in good] == ["2023000001"] * 3
    with pytest.raises(Unreadable, match="RAR"):
        reader.read(next(source for source in found if "Li" in source.name))


def test_in_a_bulk_zip_whoever_handed_in_something_else_has_a_row_too(tmp_path):
    inner = {"A_1_file/handin-7.zip": zipped(GOOD), "B_2_file/report.docx": b"PK", "C_3_file/manifest.json": b"{}"}
    inner |= {"D_4_file/all.zip": zipped({"handin-8.zip": zipped(GOOD)}), "2023000009.docx": b"PK"}
    inner |= {"index.html": b"<html>", "grades.csv": b"", "__MACOSX/._a.zip": b""}
    for top in ("", "作业 1/"):
        (tmp_path / "bulk.zip").write_bytes(zipped({top + name: each for name, each in inner.items()}))
        found = {s.name.removeprefix(top): s for s in reader.sources(tmp_path / "bulk.zip", tmp_path / "out")}
        assert {name for name, source in found.items() if source.problem} == {"B_2_file", "C_3_file", "2023000009.docx"}
        assert "There is no zip, but report.docx; expected" in found["B_2_file"].problem
        for name in ("A_1_file/handin-7.zip", "D_4_file/all.zip"):  # the second is packed once more
            assert reader.read(found[name]).manifest["name"] == "王小明"
        assert len(found) == 5


def test_folders_of_students_hold_zips_of_any_name_at_any_depth(tmp_path):
    for place in ("2023000001_Li/作业.zip", "2023000002_Wang/附件/作业.ZIP"):
        (tmp_path / "class" / place).parent.mkdir(parents=True)
        (tmp_path / "class" / place).write_bytes(zipped(GOOD))
    found = reader.sources(tmp_path / "class", tmp_path / "out")
    assert [source.name for source in found] == ["2023000001_Li/作业.zip", "2023000002_Wang/附件/作业.ZIP"]
    assert len({source.key for source in found}) == 2


def test_of_many_parts_that_cannot_be_read_the_first_are_named(tmp_path):
    found = read(tmp_path, zipped(GOOD | {f"notebooks/{i}.ipynb": b"" for i in range(100)}))
    assert len(found.problems) == 11
    assert found.problems[-1] == "90 further parts cannot be read."


def test_folders_around_a_hand_in_are_taken_off_whatever_lies_beside_it(tmp_path):
    for top in ("handin-2023000001/handin-2023000001/", "作业/新/a/"):
        content = {top + name: each for name, each in GOOD.items()} | {"作业/report.pdf": b"%PDF", "b.txt": b""}
        found = read(tmp_path, zipped(content))
        assert (found.manifest["name"], found.problems) == ("王小明", [])


def test_a_notebook_with_pasted_pictures_is_read(tmp_path):
    cell = {
        "cell_type": "markdown",
        "source": "x",
        "metadata": {},
        "attachments": {"a.png": {"image/png": "A" * 9_000_000}},
    }
    name = "notebooks/01_theory.ipynb"
    found = read(tmp_path, zipped(GOOD | {name: json.dumps({"cells": [cell]}).encode()}))
    assert ([cell["source"] for cell in found.notebooks["01_theory"]], found.problems) == (["x"], [])


def test_a_changed_hand_in_has_another_stamp(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(zipped(GOOD))
    before = Source(str(path)).stamp()
    assert Source(str(path)).stamp() == before
    path.write_bytes(zipped(GOOD | {"answers.json": b"{}"}))
    assert Source(str(path)).stamp() != before


def test_what_could_not_be_graded_here_is_tried_again(tmp_path):
    """A full disk, or a file that another program holds, says nothing about a hand-in: its row has no stamp."""
    (tmp_path / "a.zip").write_bytes(zipped(GOOD | {"runs/a/config.json": b"{}"}))
    (tmp_path / "work").write_bytes(b"no folder")
    options = {"execute": False, "rescore": False, "course": "", "number": "()", "work": str(tmp_path / "work")}
    row = one.row_of(Source(str(tmp_path / "a.zip")), options)
    assert "the same command tries again" in row["unreadable"]
    assert row["stamp"] == ""
    assert one.row_of(Source(str(tmp_path / "nowhere.zip")), options)["stamp"] == ""
    assert one.row_of(Source(str(tmp_path / "a.zip"), problem="It is a PDF."), options)["stamp"] != ""
    assert Source(str(tmp_path / "a.zip")).stamp() != Source(str(tmp_path / "a.zip"), problem="No access.").stamp()


def test_what_the_maker_of_classes_packs_is_read(tmp_path):
    content = class_of.files("2023000001", {}, {"5.1": "x"}, name="A")
    found = read(tmp_path, class_of.packed(content))
    assert found.problems == []
    assert len(found.notebooks) == len(class_of.notebooks())
