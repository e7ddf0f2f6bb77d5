"""Who works here, and the seed made of it: what `python -m labutils student` does.

With everybody's default seed 0, honest runs on like machines are identical to the byte; a seed of one's own tells
them apart.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import unicodedata

from labutils.course import workcopy

COURSE = "gan-lab"  # the course, where none is named


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Number, name, course."""
    parser.add_argument("number", nargs="?", help="your student number; without it: who works here")
    parser.add_argument("--name", help="as it is to stand in the report; quote it if it has spaces")
    parser.add_argument("--course", help=f"as your instructor names it (default: {COURSE}); it goes into the seed")


def main(known: argparse.Namespace) -> int:
    """Keep who works here, and print the seed; 2 with a sentence where that cannot be."""
    try:
        before = student()
        number = known.number if known.number is not None else before and before["number"]
        if number is None:
            raise ValueError("Nobody is named yet: python -m labutils student YOUR_NUMBER --name YOUR_NAME")
        same = before if before and before["number"] == checked_number(number) else {}
        now = keep(number, known.name or same.get("name", ""), known.course or same.get("course", COURSE))
    except (ValueError, RuntimeError) as refusal:  # RunError: it cannot be written
        print(refusal, file=sys.stderr)
        return 2
    print(f"Student {now['number']}{now['name'] and ', '}{now['name']}, course {now['course']}: seed {now['seed']}")
    print(f"Kept in {workcopy.folder() / 'student.json'}.")
    if before and before["seed"] != now["seed"]:
        print(f"Before, the seed was {before['seed']}: runs of that one are no longer yours.")
    return 0


def seed_of(course: str, number: str) -> int:
    """The seed of a student: the first six bytes, big-endian, of the SHA-256 of course and number, a line each."""
    return int.from_bytes(hashlib.sha256(f"{course}\n{number}".encode()).digest()[:6], "big")


def checked_number(number: str) -> str:
    """A student number as it is kept: wide digits become plain ones; ValueError if a file could not be named by it."""
    plain = unicodedata.normalize("NFKC", str(number)).strip()
    if not re.fullmatch(r"[0-9A-Za-z]([0-9A-Za-z_-]{0,30}[0-9A-Za-z])?", plain):
        raise ValueError(f"{number!r} is no student number; expected up to 32 digits or letters, such as 2023000001.")
    return plain


def keep(number: str, name: str = "", course: str = COURSE) -> dict:
    """Write student.json into the working copy; returns its content. ValueError if the number is none."""
    number, name, course = checked_number(number), " ".join(name.split()), " ".join(course.split()) or COURSE
    content = {"number": number, "name": name, "course": course, "seed": seed_of(course, number)}
    try:
        encoded = (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()
    except UnicodeEncodeError:
        why = "Name and course must be text that this terminal can write; half a letter was found."
        raise ValueError(why) from None
    from labutils.engine.files import write_whole  # which brings PyTorch along; --help need not wait for it

    folder = workcopy.folder()
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "student.json", encoded)
    return content


def student() -> dict | None:
    """Number, name, course and seed of who works here; None where nobody is named.

    Raises:
        ValueError: student.json was written by something else, or its seed is not that of number and course.
    """
    path = workcopy.folder() / "student.json"
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text("utf8"))
        texts = all(isinstance(found[key], str) for key in ("number", "name", "course"))
        good = texts and found["seed"] == seed_of(found["course"], checked_number(found["number"]))
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise ValueError(f"{path} is damaged or was changed: delete it, then python -m labutils student YOUR_NUMBER")
    return {key: found[key] for key in ("number", "name", "course", "seed")}
