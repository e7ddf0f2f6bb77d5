"""What is worth how much, what a person marked, and the tables of it; marks and comments are never overwritten."""

import csv
import io
import math
import re
import tomllib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from labutils.course.grading import evidence
from labutils.engine.files import write_whole
from labutils.models import MODELS

TEMPLATES = Path(__file__).parents[1] / "templates" / "grading"
FORMULA = re.compile(r"(^|[;,\t\r\n|])(\s*)([=+\-@＝＋－＠])")  # what a spreadsheet would compute
LOOKS = {"claims", "code", "parts", "suspect", "text"}  # what a person looks at, and what never costs points
COLUMNS = ("number", "name", "comments", "comment")  # of marks.csv, beside those of the parts
NBGRADER = (
    "assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email", "raw_score",
    "late_submission_penalty", "score", "max_score",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A part of the grade: `kind` is "runs", "exercises" or "marks"."""

    key: str
    title: dict[str, str]
    points: float
    kind: str


@dataclass(frozen=True)
class Rubric:
    """A rubric as read from TOML; the settings are explained in the one that ships."""

    parts: tuple[Part, ...]
    course: str = ""
    number: str = ""
    runs: tuple[str, ...] = ("mlp", "dcgan")
    deadline: datetime | None = None
    late_a_day: float = 0.0
    late_at_most: float = 0.0
    flags: dict[str, float] = field(default_factory=dict)

    @property
    def marked(self) -> list[Part]:
        """The parts that a person marks."""
        return [part for part in self.parts if part.kind == "marks"]


def read_rubric(path: Path | None) -> Rubric:
    """The rubric of a TOML file, or the one that ships; ValueError says in a sentence what is wrong with it."""
    path = path or TEMPLATES / "rubric.toml"
    try:
        text = tomllib.loads(path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n"))
        for part in text.get("parts", []):
            _known(part, ("key", "title", "points", "from"), "a part")
        parts = [Part(p["key"], _titles(p), _points(p["points"]), p["from"]) for p in text.pop("parts", [])]
        if not parts or len({part.key for part in parts}.difference(COLUMNS)) < len(parts):
            raise ValueError(f"there must be [[parts]], each with a key of its own, and none of {', '.join(COLUMNS)}")
        for part in parts:
            if part.kind not in ("runs", "exercises", "marks") or not re.fullmatch(r"\w+", part.key):
                raise ValueError(f'part {part.key!r}: from must be "runs", "exercises" or "marks", the key a word')
        _known(text, Rubric.__dataclass_fields__, "a rubric")
        if not re.compile(text.get("number") or "()").groups:
            raise ValueError("number needs a group in parentheses, the student's number")
        if not isinstance(runs := text.get("runs", ["mlp"]), list) or not {*MODELS}.issuperset(runs):
            raise ValueError(f"runs must be a list of {' and '.join(map(repr, MODELS))}, such as {list(MODELS)}")
        deadline = datetime.fromisoformat(str(text["deadline"])).astimezone() if text.get("deadline") else None
        flags = {key: _points(value) for key, value in text.get("flags", {}).items()}
        _known(flags, _codes(), "what costs points")
        rest = {key: _points(text[key]) for key in ("late_a_day", "late_at_most") if key in text}
        rest |= {"runs": tuple(text["runs"])} if "runs" in text else {}
        rest |= {"course": str(text.get("course", "")), "number": text.get("number") or "()"}
        return Rubric(tuple(parts), deadline=deadline, flags=flags, **rest)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError, AttributeError, re.error) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else f"{error}"
        which = "`grade --help` names the one that ships"
        raise ValueError(f"{path.name} is no rubric: {what.rstrip('.')}. {which}.") from None


def _known(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """A word that nothing reads is a slip of the pen: it would silently cost, or give, nothing."""
    if unknown := set(given).difference(known):
        raise ValueError(f"{min(unknown)!r} is unknown in {where}; there are {', '.join(known)}")


def _codes() -> list[str]:
    """The flags that can cost points, by the words that the pages have for them."""
    words = tomllib.loads((TEMPLATES / "words.toml").read_text("utf8"))["en"]
    return sorted({key.removeprefix("flag_") for key in words if key.startswith("flag_")} - LOOKS)


def _titles(part: dict) -> dict[str, str]:
    title = part.get("title", part["key"])
    return dict.fromkeys(("en", "zh"), part["key"]) | (title if isinstance(title, dict) else {"en": title, "zh": title})


def _points(value: object) -> float:
    if not isinstance(value, int | float) or not 0 <= value < 1e6:
        raise ValueError(f"{value!r} are no points")
    return float(value)


def read_marks(path: Path, rubric: Rubric) -> dict[str, dict]:
    """What a person wrote into marks.csv, by number: {part's key: points, "comments": [names], "comment": text}.

    Excel saves it with commas, semicolons or tabs, in UTF-8 or in GBK: all are read. ValueError names a wrong line.
    """
    if not path.exists():
        return {}
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("gb18030", "replace")
    head, _, text = re.sub(r"\r\n?", "\n", text).partition("\n")
    delimiter = max(",;\t", key=head.count)
    columns = [name.strip(' "').casefold() for name in head.split(delimiter)]
    if "number" not in columns:
        raise ValueError(f"{path} has no column `number`; rename the file, and the next call writes a new one.")
    marks = {}
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    for count, line in enumerate(csv.DictReader(io.StringIO(text), columns, delimiter=delimiter), 2):
        one = {"comments": re.findall(r"[^\s,;，；、]+", line.get("comments") or "")}
        one |= {"comment": (line.get("comment") or "").strip()}
        for part in rubric.marked:
            said = (line.get(part.key.casefold()) or "").strip().replace(",", ".")
            try:
                one |= {part.key: float(said)} if said else {}
            except ValueError:
                raise ValueError(f"{path}, line {count}: {said!r} are no points for {part.key}.") from None
            if not 0 <= one.get(part.key, 0) <= part.points:
                raise ValueError(f"{path}, line {count}: {said} of {part.points:g} points for {part.key}.")
        number = unicodedata.normalize("NFKC", line["number"] or "").strip(" '\"=").removesuffix(".0")
        if re.fullmatch(r"[\d.,]+[Ee]\+\d+", number):
            raise ValueError(f"{path}, line {count}: Excel shortened a number to {number}; write it out, as a text.")
        if number in marks:
            raise ValueError(f"{path}, line {count}: {number} has a line already; keep one of them.")
        marks |= {number: one} if number else {}
    return marks


def write_missing_marks(out: Path, rows: list[dict], rubric: Rubric, marks: dict) -> str:
    """marks.csv where there is none; marks_new.csv for students that it lacks.

    Returns a sentence on those, and on students with marks and without a hand-in, or nothing.
    """
    path, missing = out / "marks.csv", [row for row in rows if row["number"] and row["number"] not in marks]
    marked = {number for number, mark in marks.items() if any(mark.values())}
    absent = sorted(marked.difference(row["number"] for row in rows))
    few = ", ".join(absent[:5]) + ", ..." * (len(absent) > 5)
    lacks = f"Marks without a hand-in, which no table shows: {len(absent)} in marks.csv ({few})." if absent else ""
    columns = [*COLUMNS[:2], *(part.key for part in rubric.marked), *COLUMNS[2:]]
    if path.exists():
        path = out / "marks_new.csv"
        if not missing:
            path.unlink(missing_ok=True)
            return lacks
    numbers = {row["number"]: row["name"] for row in missing}
    write_table(path, columns, ([number, name] for number, name in sorted(numbers.items())))
    if path.name == "marks.csv":
        return ""
    return f"{len(numbers)} students are not in marks.csv: add them from {path.name}. {lacks}"


def graded(row: dict, rubric: Rubric, mark: dict) -> dict:
    """The points of one hand-in: {"parts": {key: points or None}, "late", "off", "total", "open": [keys to mark]}."""
    parts, exercises = {}, row["exercises"]
    for part in rubric.parts:
        if part.kind == "marks":
            share = mark[part.key] / part.points if part.key in mark and part.points else None
        elif part.kind == "runs":
            named = {evidence.kind(run) for run in row["runs"].values() if run["verified"]}
            share = sum(name in named for name in rubric.runs) / max(1, len(rubric.runs))
        else:
            states = [exercise["state"] for exercise in exercises.values()]
            share = None if "not run" in states else states.count("right") / max(1, len(states))
        parts[part.key] = None if share is None else round(share * part.points, 2)
    late = _late(row["made"], rubric)
    off = sum(rubric.flags.get(flag, 0) for flag in {flag["code"] for flag in row["flags"]})
    total = round(sum(points for points in parts.values() if points is not None) - late - off, 2)
    waiting = [key for key, points in parts.items() if points is None]
    return {"parts": parts, "late": late, "off": off, "total": max(0.0, total), "open": waiting}


def _late(made: str, rubric: Rubric) -> float:
    try:
        days = (datetime.fromisoformat(made).astimezone() - rubric.deadline).total_seconds() / 86_400
    except (ValueError, TypeError, OverflowError, OSError):
        return 0.0
    return min(max(0, math.ceil(days)) * rubric.late_a_day, rubric.late_at_most)


def write_grades(out: Path, rows: list[dict], rubric: Rubric) -> None:
    """grades.csv, which Excel opens right, and nbgrader.csv, in nbgrader's columns."""
    most = sum(part.points for part in rubric.parts)
    columns = ["number", "name", *(part.key for part in rubric.parts), "late", "flags_off", "total", "of", "to_mark"]
    columns += ["flags", "look_at", "note", "file"]
    table, exported = [], []
    for row in rows:
        got, who = row["points"], [row["number"], row["name"]]
        flag, look = (" ".join(sorted({f["code"] for f in row["flags"] if f["kind"] == k})) for k in ("flag", "look"))
        shown = ["" if points is None else points for points in got["parts"].values()]
        numbers = [got["late"], got["off"], got["total"], most, " ".join(got["open"])]
        table.append([*who, *shown, *numbers, flag, look, row["unreadable"], row["source"]])
        raw = [got["total"] + got["late"], got["late"], got["total"], most]
        exported.append(["gan-lab", rubric.deadline or "", row["made"], *who, "", "", *raw])
    write_table(out / "grades.csv", columns, table)
    write_table(out / "nbgrader.csv", NBGRADER, exported)


def write_table(path: Path, columns: Iterable[str], lines: Iterable[Iterable]) -> None:
    """A CSV file in UTF-8 with its mark, in which no text is a formula."""
    kept = io.StringIO()
    writer = csv.writer(kept, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([[each if isinstance(each, int | float) else harmless(each) for each in line] for line in lines])
    write_whole(path, b"\xef\xbb\xbf" + kept.getvalue().encode("utf8", "replace"))


def harmless(text: object) -> str:
    """A text that no spreadsheet computes, also where it splits the line elsewhere."""
    return FORMULA.sub(r"\1\2'\3", " ".join(str(text).split()))
