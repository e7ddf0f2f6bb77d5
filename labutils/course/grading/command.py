"""`python -m labutils grade FOLDER`: a class's hand-ins in, one page, one table and feedback out."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tomllib
from collections import Counter
from itertools import pairwise
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to grade, how, and where the result goes."""
    shipped = Path(__file__).parents[1] / "templates" / "grading" / "rubric.toml"
    parser.add_argument("folder", type=Path, nargs="?", help="zips and folders of hand-ins, or a platform's bulk zip")
    parser.add_argument("--out", type=Path, help="where pages and tables go (default: FOLDER-graded)")
    parser.add_argument("--rubric", type=Path, help=f"a TOML file (default: {shipped})")
    parser.add_argument("--lang", choices=("zh", "en"), help="of the pages (default: that of most hand-ins)")
    parser.add_argument("--execute", action="store_true", help="run the students' exercises, each in a shut process")
    parser.add_argument("--no-rescore", action="store_true", help="do not score the generators again: 10 s a run less")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="hand-ins at a time (default: all cores)")


def main(known: argparse.Namespace) -> int:
    """Grade a class; 2 with a sentence where that cannot be begun, 130 after Ctrl-C: the same call goes on."""
    from labutils.course.grading import rubric
    from labutils.course.grading.reader import sources
    from labutils.data import load_mnist
    from labutils.engine.paths import expanded
    from labutils.quality import digit_classifier

    try:
        if known.folder is None:
            raise ValueError("Name the folder of the hand-ins, or the bulk zip: python -m labutils grade FOLDER")
        folder = expanded(known.folder)
        out = expanded(known.out or folder.with_name(f"{folder.name.removesuffix('.zip')}-graded"))
        if not folder.exists():
            raise ValueError(f"{folder} does not exist; name the folder of the hand-ins, or the bulk zip.")
        if out.is_file() or out.resolve() == folder.resolve():  # pages would be graded as hand-ins
            raise ValueError(f"Pages and tables cannot go to {out}; name another folder by --out.")
        rules = rubric.read_rubric(known.rubric)
        marks, found = rubric.read_marks(out / "marks.csv", rules), sources(folder, out)
        if not found:
            raise ValueError(f"There is nothing in {folder}; expected zips or folders of hand-ins.")
        if os.environ.get("LABUTILS_DATA"):  # found out now: it would speak against everybody
            load_mnist() if known.no_rescore else digit_classifier()
        comments = _comments(out)
        for name in sorted({name for mark in marks.values() for name in mark["comments"]} - comments.keys())[:1]:
            raise ValueError(f"{out / 'marks.csv'} names the comment {name!r}, which is not in comments.toml.")
        if (rows := _rows(found, out, rules, known)) is None:
            return 130
        print(conclude(out, rows, rules, marks, comments, known))
    except (ValueError, RuntimeError, OSError) as refusal:  # RunError: the disk is full
        print(refusal, file=sys.stderr)
        return 2
    return 0


def _rows(found: list, out: Path, rules, known: argparse.Namespace) -> list[dict] | None:
    """A row for each source, those of earlier calls where nothing changed; None after Ctrl-C."""
    from labutils.course.grading import one
    from labutils.engine.files import write_whole

    (out / "rows").mkdir(parents=True, exist_ok=True)
    options = {"execute": known.execute, "rescore": not known.no_rescore, "course": rules.course}
    options |= {"number": rules.number, "work": str(out / ".work")}
    done = {source.key: row for source in found if (row := _kept(out, source, one.stamp(source, options)))}
    waiting = [source for source in found if source.key not in done]
    print(f"{len(found)} hand-ins, {len(done)} of them graded before; pages and tables go to {out}", flush=True)
    try:
        for count, row in enumerate(one.rows_of(waiting, options, max(1, known.workers or 1)), len(done) + 1):
            done[row["key"]] = row
            write_whole(out / "rows" / f"{row['key']}.json", json.dumps(row).encode("utf8", "replace"))
            said = row["unreadable"] or f"{len(row['runs'])} runs, {row['cpu_seconds']:.1f} CPU s"
            print(f"[{count}/{len(found)}] {row['number'] or row['source']}: {said}", flush=True)
    except KeyboardInterrupt:
        print(f"\nStopped: {len(done)} of {len(found)} hand-ins are graded and kept; the same command goes on.")
        return None
    finally:
        shutil.rmtree(out / ".work", ignore_errors=True)
    return [done[source.key] for source in found]


def _kept(out: Path, source, stamp: str) -> dict | None:
    """The row of an earlier call, if neither the hand-in nor the question has changed."""
    try:
        row = json.loads((out / "rows" / f"{source.key}.json").read_text("utf8"))
        return row if row["stamp"] == stamp else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _comments(out: Path) -> dict[str, dict]:
    """The bank of comments, which is copied from the one that ships where there is none."""
    from labutils.course.grading.rubric import TEMPLATES

    path = out / "comments.toml"
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(TEMPLATES / "comments.toml", path)
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path} is not TOML: {error}") from None


def conclude(out: Path, rows: list[dict], rules, marks: dict, comments: dict, known) -> str:
    """What can only be said of the class as a whole; then the tables and pages. Returns the last line to print."""
    from labutils.course.grading import alike, class_study, exercises, flags, one, pages, rubric
    from labutils.course.translation import Catalogue

    solutions = [str(each.get("solution", "")) for each in exercises.catalogue().values()]
    who = {row["key"]: row["number"] or row["key"] for row in rows}  # a second hand-in is like the first
    pairs = alike.answers(rows), alike.programs(rows, solutions)
    text, code = ([pair for pair in each if len({who[key] for key in pair["of"]}) > 1] for each in pairs)
    spoken = Counter(row["language"] for row in rows if not row["unreadable"])
    lang = known.lang or (spoken or Counter(["en"])).most_common(1)[0][0]
    flags.raise_all(rows, rules, text, code, lang)
    said = {}
    for row in rows:
        mark = marks.get(row["number"], {})
        row["points"] = rubric.graded(row, rules, mark)
        language = row["language"]
        bank = [comments.get(name, {}) for name in mark.get("comments", ())]
        said[row["key"]] = [str(each.get(language) or each.get("en") or "") for each in bank if isinstance(each, dict)]
        said[row["key"]] += [mark["comment"]] if mark.get("comment") else []
    rubric.write_grades(out, rows, rules)
    lacks = rubric.write_missing_marks(out, rows, rules, marks)
    found = class_study.records(rows)
    (out / "records.json").write_text(json.dumps(found), "utf8")
    asked = _questions(one.untouched(), Catalogue(lang).texts)
    limits = sorted({limit for row in rows for limit in row["limits"]})
    about = {"alike": text, "code": code, "comments": said, "asked": asked, "limits": limits}
    about |= {"executed": known.execute, "rescored": not known.no_rescore, "lang": lang}
    w = pages.words()[lang]
    about |= {"study": class_study.table(found, w), "claims": class_study.claims(found, w)}
    pages.write(out, rows, rules, about)
    flagged = sum(any(flag["kind"] == "flag" for flag in row["flags"]) for row in rows)
    return f"{len(rows)} hand-ins, {flagged} flagged. {lacks} Open {out / 'class.html'}".replace("  ", " ")


def _questions(untouched: dict[str, list[dict]], words: dict[str, str]) -> dict[str, str]:
    """The questions, by number, in the language of `words`: the cell before the one that is answered in."""
    from labutils.course.material import asked

    pairs = [(before["source"], cell["question"]) for cells in untouched.values() for before, cell in pairwise(cells)]
    texts = {number: asked(number, source) for source, number in pairs if number}
    return {number: words.get(" ".join(text.split()), text) for number, text in texts.items()}
