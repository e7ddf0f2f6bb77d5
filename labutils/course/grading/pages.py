"""The pages of a class: class.html, questions.html and a feedback page a student; every text of theirs is escaped."""

import functools
import math
import re
import tomllib
from pathlib import Path

import jinja2

from labutils.course.grading.exercises import catalogue, order
from labutils.course.grading.rubric import TEMPLATES, Rubric
from labutils.engine.files import write_whole


@functools.cache
def words() -> dict[str, dict[str, str]]:
    """The sentences and labels, by language."""
    return tomllib.loads((TEMPLATES / "words.toml").read_text("utf8"))


def say(finding: dict, language: str, private: bool = False) -> str:
    """A finding as a sentence; with `private` it names no other student."""
    finding = finding | ({"who": words()[language]["another"]} if private and finding.get("why") != "shipped" else {})
    said, stem = words()[language], f"{finding['check']}_{finding['state']}"
    keys = [f"{stem}_{finding.get('why')}", f"{finding['check']}_why" if "why" in finding else "", stem]
    text = next((said[key] for key in keys if key in said), f"{stem}: {finding.get('why', '')}")
    try:
        return text.format(**finding)
    except (KeyError, ValueError, IndexError, TypeError, OverflowError):
        return text


def write(out: Path, rows: list[dict], rubric: Rubric, about: dict) -> None:
    """All pages. `about`: the rest of what they show, by the names in the templates."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    titles = {number: str(each.get("title", "")) for number, each in catalogue().items()}
    numbers = sorted({number for row in rows for number in row["exercises"]}, key=order)
    (out / "feedback").mkdir(exist_ok=True)
    used = {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))}  # by Windows
    for row in rows:
        name = re.sub(r"[^0-9A-Za-z_-]", "", row["number"])[:40] or row["key"]
        row["page"] = f"{name}{('-' + row['key']) * (name.lower() in used)}.html"
        used.add(name.lower())
        flags = list(dict.fromkeys((flag["code"], flag["kind"]) for flag in row["flags"]))
        row |= {"codes": flags, "answered": sum(map(bool, row["answers"].values()))}
        states = [each["state"] for each in row["exercises"].values()]
        row["right"] = "·" if "not run" in states else f"{states.count('right')} / {len(states)}"  # nobody looked
    rows = sorted(rows, key=_worst_first)
    common = {"say": say, "rubric": rubric, "titles": titles, "rows": rows, "numbers": numbers}
    common |= {"who": {row["key"]: f"{row['number'] or row['source']} {row['name']}".strip() for row in rows}}
    solved = [{n for n, each in row["exercises"].items() if each["state"] == "right"} for row in rows]
    looked = any(row["right"] != "·" for row in rows)
    common |= {"rights": {n: sum(n in each for each in solved) if looked else "·" for n in numbers}}
    common |= {"count": _count(rows), "questions": _questions(rows, about), "code": about["code"]} | _scatter(rows)
    page = environment.get_template("feedback.html.j2")
    for row in rows:
        language = row["language"]
        mine = {"row": row, "lang": language, "w": words()[language], "comments": about["comments"].get(row["key"], [])}
        write_whole(out / "feedback" / row["page"], page.render(common | mine).encode("utf8", "replace"))
    about = common | about | {"w": words()[about["lang"]]}
    for name in ("questions", "class"):
        made = environment.get_template(f"{name}.html.j2").render(about)
        write_whole(out / f"{name}.html", made.encode("utf8", "replace"))


def _worst_first(row: dict) -> tuple:
    kinds = [flag["kind"] for flag in row["flags"]]
    return not row["unreadable"], -kinds.count("flag"), -kinds.count("look"), row["number"]


def _count(rows: list[dict]) -> dict[str, int]:
    found = dict.fromkeys(("unreadable", "flagged", "look", "clean"), 0)
    for row in rows:
        kinds = {flag["kind"] for flag in row["flags"]}
        state = "flagged" if "flag" in kinds else "look" if kinds else "clean"
        found["unreadable" if row["unreadable"] else state] += 1
    runs = [run for row in rows for run in row["runs"].values()]
    return found | {"runs": len(runs), "verified": sum(run["verified"] for run in runs)}


def _questions(rows: list[dict], about: dict) -> list[dict]:
    """Each question with all answers, students in the order of their numbers."""
    numbers = sorted({number for row in rows for number in row["answers"]}, key=order)
    students = sorted((row for row in rows if row["answers"]), key=lambda row: row["number"])
    found = []
    for number in numbers:
        given = [(row["key"], row["answers"].get(number, "")) for row in students]
        alike = [pair for pair in about["alike"] if pair["question"] == number]
        here = {"number": number, "text": about["asked"].get(number, ""), "alike": alike}
        here |= {"answers": [each for each in given if each[1]], "empty": sum(not text for _, text in given)}
        found.append(here)
    return found


def _scatter(rows: list[dict], width: int = 640, height: int = 260) -> dict:
    """Points of quality against cost, and ticks: both logarithmic."""
    found = [
        (row, name, run) for row in rows for name, run in row["runs"].items()
        if run.get("quality") and 1e-3 < run["cost"] < 1e7 and run["quality"]["frechet"] > 0
    ]  # fmt: skip
    places = {"x": [run["cost"] for *_, run in found], "y": [run["quality"]["frechet"] for *_, run in found]}
    ends = {axis: (min(values) / 1.2, max(values) * 1.2) for axis, values in places.items() if values}

    def at(axis: str, value: float) -> float:
        low, high = ends[axis]
        share = math.log(value / low) / math.log(high / low)
        return round(60 + width * share if axis == "x" else 10 + height * (1 - share), 1)

    def ticks(axis: str) -> list[dict]:
        every = [m * 10.0**k for k in range(-4, 8) for m in (1, 2, 5)]
        return [{"at": at(axis, v), "text": f"{v:g}"} for v in every if ends[axis][0] <= v <= ends[axis][1]]

    points = []
    for row, name, run in found:
        text = f"{row['number']} {name}: {run['quality']['frechet']:.1f}, {run['cost']:.0f} s"
        place = {"x": at("x", run["cost"]), "y": at("y", run["quality"]["frechet"]), "key": row["key"], "text": text}
        points.append(place | {"verified": run["verified"], "model": run["config"].get("model")})
    return {"points": points, "ticks": {axis: ticks(axis) for axis in ends}}
