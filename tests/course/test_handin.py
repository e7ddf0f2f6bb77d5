"""The hand-in: what it holds, what it says is missing, and that it is written whole or not at all."""

import hashlib
import io
import json
import os
import shutil
import zipfile
from pathlib import Path, PureWindowsPath

import nbformat
import pytest
import tiny

from labutils import exercises, runs
from labutils.course import cli, handin, material
from labutils.engine import files
from labutils.training import train

RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{d}{i}" for d in ("COM", "LPT") for i in range(10))}


def said(capsys, *arguments: str, code: int = 0) -> str:
    assert cli.main(["handin", *arguments]) == code
    out, err = capsys.readouterr()
    return out + err


def made(desk) -> Path:
    return desk.root / "handin" / "handin-2023000001.zip"


def opened(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_it_holds_what_its_manifest_says(desk, capsys):
    desk.answer({"5.1": "第 24 个周期。"})
    printed = said(capsys)
    content = opened(made(desk))
    manifest = json.loads(content["manifest.json"])
    sums = {k: {"bytes": len(v), "sha256": hashlib.sha256(v).hexdigest()} for k, v in content.items()}
    del sums["manifest.json"]
    assert manifest["files"] == sums
    assert manifest["format"] == 1
    assert [manifest[key] for key in ("number", "name", "course", "seed", "language")] == [
        *("2023000001", "王 小明", "gan-lab", 128970958758141, "zh")
    ]
    assert {"labutils", "python", "torch", "made"} < manifest.keys()
    assert manifest["runs"] == {"mlp": "runs/mlp mine", "dcgan": "runs/dcgan-我的"}
    assert json.loads(content["answers.json"]) == {"5.1": "第 24 个周期。", "5.2": ""}
    assert set(json.loads(content["scores.json"])) == set(manifest["runs"].values())
    assert json.loads(content["scores.json"])["runs/mlp mine"]["samples"] == 10_000
    of_a_run = {Path(name).name for name in content if name.startswith("runs/mlp mine/")}
    assert {"config.json", "history.csv", "first_steps.json", "generator.safetensors"} < of_a_run
    assert not [name for name in content if "state_" in name or "discriminator" in name]
    assert f"Hand in this file, {len(made(desk).read_bytes()) / 1e6:.1f} MB: {made(desk)}" in printed
    assert len(made(desk).read_bytes()) < handin.LARGE


def test_of_grids_those_of_figure_4_go_in(desk):
    names = opened(handin.write())
    grids = [name for name in names if name.startswith("runs/mlp mine/samples/")]
    assert len(grids) == 10  # of 13
    assert {f"runs/mlp mine/samples/epoch_{epoch:04d}.png" for epoch in (0, 12)} < set(grids)


def test_what_went_in_is_a_run_that_can_be_rebuilt(desk, tmp_path):
    with zipfile.ZipFile(handin.write()) as archive:
        archive.extractall(tmp_path / "out")
    run = runs.load_run(tmp_path / "out" / "runs" / "mlp mine")
    assert run.first_steps == runs.load_run(desk.run("mlp")).first_steps
    assert len(run.first_steps) == 8
    assert run.generator() is not None
    again = train(
        tiny.config(seed=128970958758141, epochs=2), tmp_path / "again", images=tiny.images(160), progress=False
    )
    assert again.first_steps == run.first_steps
    first = "samples/epoch_0000.png"
    assert (again.folder / first).read_bytes() == (run.folder / first).read_bytes()


def test_notebooks_go_in_without_outputs(desk):
    desk.answer({"5.2": "No."})
    notebook = nbformat.read(desk.work / "05_training.ipynb", 4)
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="much " * 1000)]
    nbformat.write(notebook, desk.work / "05_training.ipynb")
    (desk.work / "笔记 mine.ipynb").write_text(nbformat.writes(notebook), "utf8")
    content = opened(handin.write())
    assert {name for name in content if name.startswith("notebooks/")} == {
        *("notebooks/05_training.ipynb", "notebooks/笔记 mine.ipynb")
    }
    kept = nbformat.reads(content["notebooks/05_training.ipynb"].decode(), 4)
    assert kept.cells[1].outputs == []
    assert kept.cells[5].source == "No."


def test_it_says_what_is_missing(desk, capsys, monkeypatch):
    printed = said(capsys)
    for sentence in (
        "The MLP run is only a small one (images: 160, epochs: 12): mlp mine",
        "Never changed, or never saved, in the working copy: 05_training",
        "0 of 2 questions are answered; not yet: 5.1, 5.2",
        f"0 of {len(exercises.states())} exercises are right; not yet: ",
        "There is no report: python -m labutils report",
        "The two runs saw different images: 160 and 16 of them",
    ):
        assert f"  - {sentence}" in printed
    config = files.read_json(desk.run("dcgan") / "config.json")
    config["data"]["sha256"] = runs.load_run(desk.run("mlp")).config["data"]["sha256"]
    files.write_json(desk.run("dcgan") / "config.json", config)
    desk.answer({"5.1": "At 24.", "5.2": "No."})
    (desk.root / "report").mkdir()
    monkeypatch.setattr(material, "is_small", lambda run: False)
    monkeypatch.setattr(exercises, "states", lambda: {"5.1": "right"})
    page = desk.root / "report" / "report.html"
    page.write_text(f"report of {material.gather().digest}")
    os.utime(next(desk.work.glob("*.ipynb")))  # saved once more: that makes no report older
    printed = said(capsys)
    assert "Missing" not in printed
    assert "Nothing is missing." in printed
    desk.answer({"5.1": "At 25.", "5.2": "No."})
    os.utime(page, (1, 1))
    assert "The report is older than mlp mine, dcgan-我的, your name, answers or exercises: " in said(capsys)


def test_a_run_of_another_seed_and_one_not_finished_are_named(desk, capsys):
    shutil.rmtree(desk.run("mlp"))

    def stop(run):
        raise KeyboardInterrupt

    train(tiny.config(seed=5, epochs=9), desk.runs / "mlp other", images=tiny.images(), on_epoch=stop, progress=False)
    shutil.rmtree(desk.run("dcgan"))
    printed = said(capsys)
    assert "The MLP run has the seed 5; yours is 128970958758141" in printed
    assert "The MLP run is not finished, 1 of 9 epochs: mlp other" in printed
    assert "There is no run of DCGAN: train one" in printed


def test_damage_of_what_the_student_has_is_named_and_the_rest_goes_in(desk, capsys):
    desk.answer({})
    (desk.work / "06_dcgan.ipynb").write_text("<<<<<<< mine")
    (desk.run("dcgan") / "history.csv").write_text("epoch\n")
    printed = said(capsys)
    assert "06_dcgan.ipynb cannot be read as a notebook" in printed
    assert "history.csv was changed after it was written" in printed
    assert "runs/mlp mine/config.json" in opened(made(desk))


def test_nobody_hands_in_nothing(desk, capsys):
    (desk.work / "student.json").unlink()
    assert "Nobody is named: python -m labutils student" in said(capsys, code=2)
    assert not (desk.root / "handin").exists()


@pytest.mark.parametrize("name", ['mlp: "a" <b>?', "mlp *|", "mlp.", "mlp ", "mlp " + "数" * 60])
def test_names_are_such_as_windows_holds(name, desk):
    if os.name == "nt":
        pytest.skip("such a name cannot be made here")
    desk.run("mlp").rename(desk.runs / name)
    for entry in opened(handin.write()):
        assert not PureWindowsPath(entry).is_absolute()
        for part in entry.split("/"):
            assert not set(part) & set('<>:"\\|?*')
            assert part == part.rstrip(". ")
            assert part.split(".")[0].upper() not in RESERVED
            assert ".." not in part


def test_the_second_replaces_the_first_whole_or_not_at_all(desk, capsys, monkeypatch):
    said(capsys)
    first = made(desk).read_bytes()
    desk.answer({"5.1": "new"})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        assert "handin-2023000001.zip: the disk is full; free some space" in said(capsys, code=2)
    assert made(desk).read_bytes() == first
    said(capsys)
    assert json.loads(opened(made(desk))["answers.json"])["5.1"] == "new"
    assert [path.name for path in made(desk).parent.iterdir()] == [made(desk).name]


def test_check_says_the_same_of_the_file(desk, capsys):
    desk.answer({"5.1": "At 24."})
    written = said(capsys).split("Missing:")[1].split("Hand in")[0].strip().splitlines()
    checked = said(capsys, "--check", str(made(desk)))
    assert "Student 2023000001 王 小明, course gan-lab\n  runs/mlp mine: the report's MLP\n" in checked
    assert f"{made(desk)} is whole: each file has the SHA-256 of its manifest" in checked
    assert [line for line in written if "Never changed" not in line] == [
        line for line in checked.split("Missing:")[1].strip().splitlines() if line.startswith("  - ") or "- " in line
    ]


def repacked(path: Path, change) -> Path:
    """The hand-in with its content changed, entry by entry."""
    content = opened(path)
    change(content)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    path.write_bytes(packed.getvalue())
    return path


def manifested(**changes):
    def change(content):
        content["manifest.json"] = json.dumps(json.loads(content["manifest.json"]) | changes).encode()

    return change


DAMAGES = {
    "a changed file": (lambda c: c.update({"answers.json": b"{}"}), "answers.json in .* is damaged: its SHA-256"),
    "a lost file": (lambda c: c.pop("scores.json"), "is no hand-in, or damaged"),
    "no manifest": (lambda c: c.pop("manifest.json"), "is no hand-in, or damaged"),
    "a manifest of brackets": (lambda c: c.update({"manifest.json": b"[" * 100_000}), "is no hand-in, or damaged"),
    "a list for a manifest": (lambda c: c.update({"manifest.json": b"[]"}), "is no hand-in, or damaged"),
    "another format": (manifested(format=2), "has hand-in format 2; this labutils reads 1"),
    "no runs in it": (manifested(runs=None), "is no hand-in, or damaged|'NoneType'"),
    "runs elsewhere": (manifested(runs={"mlp": "../../elsewhere"}), "is not a run"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_by_check(damage, desk, capsys):
    import re

    change, sentence = DAMAGES[damage]
    printed = said(capsys, "--check", str(repacked(handin.write(), change)), code=1)
    assert re.search(sentence, printed)
    assert "is whole" not in printed


def test_what_leads_out_is_not_written(desk, capsys, tmp_path):
    def change(content):
        content["../../out.txt"] = b"out"
        files = {"../../out.txt": {"bytes": 3, "sha256": hashlib.sha256(b"out").hexdigest()}}
        manifested(files=files)(content)

    said(capsys, "--check", str(repacked(handin.write(), change)), code=1)
    assert not list(tmp_path.parent.rglob("out.txt"))


@pytest.mark.parametrize("content", [b"", b"PK", b"no zip at all"])
def test_what_is_no_archive_gets_a_sentence(content, desk, capsys, tmp_path):
    (tmp_path / "a.zip").write_bytes(content)
    assert "is no hand-in, or damaged" in said(capsys, "--check", str(tmp_path / "a.zip"), code=1)
    assert "There is no file" in said(capsys, "--check", str(tmp_path / "none.zip"), code=1)


def test_a_bomb_is_refused_before_it_is_unpacked(desk, capsys, tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", b" " * (handin.LARGEST + 1))
    assert "holds more than a hand-in does" in said(capsys, "--check", str(path), code=1)
