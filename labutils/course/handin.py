"""One file to hand in: `python -m labutils handin` makes it, `handin --check FILE` says what is in it.

handin/handin-<number>.zip holds manifest.json (format 1: who, versions, sizes and SHA-256 of all files, runs,
exercises), answers.json, scores.json, the notebooks without outputs, the report, and of each run config.json,
history.csv, first_steps.json and grids; of the two that the report is about also the generator. The SHA-256 finds
damage on the way. It finds no lies: who can write the files can write the sums.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import platform
import re
import sys
import tempfile
import time
import zipfile
from importlib.metadata import version
from pathlib import Path

import labutils

FORMAT = 1
REPORTS = ("report.html", "report.pdf", "report.docx")
LARGE = 15_000_000  # bytes; more than an MLP and a DCGAN run, with a report, need
LARGEST, MOST_FILES = 200_000_000, 2_000  # that --check unpacks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to check, if it is not to be made."""
    parser.add_argument("--check", metavar="FILE", help="say what is in a hand-in, and whether it is whole")


def main(known: argparse.Namespace) -> int:
    """Write the hand-in, or check one; 2 with a sentence where that cannot be, 1 where one is damaged."""
    from labutils.course import lab

    try:
        if known.check:
            return _say_check(Path(known.check))
        if refusal := lab.not_here("handin"):
            raise ValueError(refusal)
        write()
    except (ValueError, RuntimeError) as refusal:
        print(refusal, file=sys.stderr)
        return 2
    return 0


def write() -> Path:
    """Say what is missing, then write the file; one from before is replaced whole or stays as it was.

    Raises:
        ValueError: nobody is named.
        RunError: the file cannot be written.
    """
    from labutils.course import lab, material
    from labutils.engine.files import write_whole

    found = material.gather()
    if found.student is None:
        raise ValueError(found.lacks[0][0].format(**found.lacks[0][1]))
    content = _content(found)
    manifest = _manifest(found, content)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {"manifest.json": _json(manifest), **content}.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    path = lab.ROOT / "handin" / f"handin-{found.student['number']}.zip"
    lacks = found.lacks + _report_lacks(found, material.report_folder())
    if packed.tell() > LARGE:
        text = "The file is large, {size:.0f} MB: pasted pictures may be the cause"
        lacks.append((text, {"size": packed.tell() / 1e6}))
    _say(manifest, lacks)
    write_whole(path, packed.getvalue())
    print(f"Hand in this file, {packed.tell() / 1e6:.1f} MB: {path}")
    return path


def check(path: Path) -> tuple[dict, list[tuple[str, dict]]]:
    """The manifest of a hand-in and what it lacks, as `write` says it.

    Raises:
        ValueError: it is no hand-in, or a file in it is missing or damaged.
    """
    from labutils import runs
    from labutils.course import material

    with tempfile.TemporaryDirectory(prefix="handin-", ignore_cleanup_errors=True) as folder:
        manifest = _unpack(path, Path(folder))
        answers = json.loads((Path(folder) / "answers.json").read_text("utf8"))
        found = {model: runs.load_run(Path(folder) / place) for model, place in manifest["runs"].items()}
        lacks = material.to_train(found, manifest["seed"])
        lacks += material.to_answer(answers) + material.to_solve(manifest["exercises"])
        if "report/report.html" not in manifest["files"]:
            lacks.append(("There is no report: python -m labutils report", {}))
    return manifest, lacks


def _unpack(path: Path, folder: Path) -> dict:
    """All files of a hand-in, of the size and SHA-256 that its manifest says, in a folder; returns the manifest."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > MOST_FILES or sum(entry.file_size for entry in entries) > LARGEST:
                raise ValueError(f"{path} holds more than a hand-in does.")
            manifest = json.loads(archive.read("manifest.json"))
            if manifest["format"] != FORMAT:
                raise ValueError(f"{path} has hand-in format {manifest['format']!r}; this labutils reads {FORMAT}.")
            for name, about in manifest["files"].items():
                data = archive.read(name)
                if len(data) != about["bytes"] or hashlib.sha256(data).hexdigest() != about["sha256"]:
                    raise ValueError(f"{name} in {path} is damaged: its SHA-256 differs from the manifest's.")
                place = (folder / name).resolve()
                if not place.is_relative_to(folder.resolve()):
                    raise ValueError(f"{path} is no hand-in: {name!r} leads out of it.")
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(data)
    except FileNotFoundError:
        raise ValueError(f"There is no file {path}; `handin` says where it wrote yours.") from None
    except (zipfile.BadZipFile, OSError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is no hand-in, or damaged ({type(error).__name__}: {error}).") from None
    return manifest


def _say_check(path: Path) -> int:
    from labutils.runs import RunError

    try:
        manifest, lacks = check(path)
    except (ValueError, RunError, KeyError, TypeError, AttributeError) as error:
        print(error)
        return 1
    _say(manifest, lacks)
    print(f"{path} is whole: each file has the SHA-256 of its manifest, of {manifest['made']}.")
    return 0


def _say(manifest: dict, lacks: list[tuple[str, dict]]) -> None:
    print(f"Student {manifest['number']} {manifest['name']}".rstrip() + f", course {manifest['course']}")
    for model, place in manifest["runs"].items():
        print(f"  {place}" + f": the report's {model.upper()}" * (model in ("mlp", "dcgan")))
    for name in manifest["files"]:
        print(f"  {name}") if name.startswith("report/") else None
    print("Missing:" if lacks else "Nothing is missing.")
    for text, words in lacks:
        print(f"  - {text.format(**words)}")


def _content(found) -> dict[str, bytes]:
    """All files but the manifest, by their names in the archive."""
    from labutils.course import material, workcopy

    content = {"answers.json": _json({question.number: question.answer for question in found.questions})}
    scores = {}
    for model, run in found.runs.items():
        try:
            scores[_place(run)] = material.scored(run)
        except (ValueError, RuntimeError, OSError) as error:
            found.lacks.append(("{error}", {"error": f"{run.folder.name} has no scores: {error}"}))
        for name in _files(run, whole=model in material.MODELS):
            content[f"{_place(run)}/{name}"] = (run.folder / name).read_bytes()
    content["scores.json"] = _json(scores)
    for path in sorted(workcopy.folder().glob("*.ipynb")):
        if " (mine" in path.name:  # put aside when a new version was taken over
            continue
        try:
            content[f"notebooks/{_portable(path.name)}"] = _json(material.bare_notebook(path))
        except ValueError as error:
            found.lacks.append(("{error}", {"error": str(error)}))
    for name in REPORTS:
        if (path := material.report_folder() / name).is_file():
            content[f"report/{name}"] = path.read_bytes()
    return content


def _files(run, whole: bool) -> list[str]:
    """What is taken of a run: of those that are only compared, no generator and two grids."""
    from labutils.course.material import figure_epochs

    epochs = figure_epochs(run)
    names = [f"samples/epoch_{epoch:04d}.png" for epoch in (epochs if whole else {*epochs[:1], *epochs[-1:]})]
    averaged = "_average" * bool(run.config["train"].get("ema"))
    names += ["config.json", "history.csv", "first_steps.json"] + [f"generator{averaged}.safetensors"] * whole
    return sorted(name for name in names if (run.folder / name).is_file())


def _manifest(found, content: dict[str, bytes]) -> dict:
    files = {k: {"bytes": len(v), "sha256": hashlib.sha256(v).hexdigest()} for k, v in content.items()}
    about = {"language": found.language, "labutils": labutils.__version__, "python": platform.python_version()}
    about |= {"torch": version("torch"), "made": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    places = {model: _place(run) for model, run in found.runs.items()}
    return {"format": FORMAT, **found.student, **about, "files": files, "runs": places, "exercises": found.exercises}


def _report_lacks(found, folder: Path) -> list[tuple[str, dict]]:
    from labutils.course import workcopy

    report = folder / "report.html"
    if not report.is_file():
        return [("There is no report: python -m labutils report", {})]
    parts = {run.folder.name: run.folder / "history.csv" for run in found.runs.values()}
    if (chosen := workcopy.folder() / "report.json").is_file():
        parts["your choice of runs"] = chosen
    newer = [name for name, path in parts.items() if path.stat().st_mtime > report.stat().st_mtime]
    if found.digest not in report.read_text("utf8", "replace"):  # not by its time: a notebook may be saved once more
        newer.append("your name, answers or exercises")
    text = "The report is older than {names}: python -m labutils report"
    return [(text, {"names": ", ".join(newer)})] if newer else []


def _place(run) -> str:
    return f"runs/{_portable(run.folder.name)}"


def _portable(name: str) -> str:
    """A name that each system can hold."""
    return re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", name).rstrip(". ") or "_"


def _json(content: dict) -> bytes:
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode("utf8", "backslashreplace")
