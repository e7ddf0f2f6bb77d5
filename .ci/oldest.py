"""Install the lower end of every range in pyproject.toml into a folder of its own, and run the tests with it.

    python .ci/oldest.py build/oldest                         # all tests, as `make test thorough` runs them
    python .ci/oldest.py build/oldest -m labutils run 01      # or anything else that its Python can run

Use the oldest Python that the lab allows: newer ones have no wheels of the oldest packages. A range that is promised
and not true shows as a test that fails: raise it to the first version that passes. A folder made for the same list is
kept.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RANGE = re.compile(r"(?P<name>[\w.-]+)>=(?P<version>[\w.]+)(,[^;]+)?(?P<where>;.*)?")


def lowest(project: dict) -> list[str]:
    """name==version for each dependency, the extras' and the build's among them; two ranges of one must agree."""
    found = {}
    extras = project["project"]["optional-dependencies"].values()
    for line in sum(extras, project["project"]["dependencies"] + project["build-system"]["requires"]):
        match = RANGE.fullmatch(line.replace(" ", ""))
        if not match:
            sys.exit(f"pyproject.toml has {line!r}, a range without a lower end. Write it as name>=version.")
        pin = f"{match['name']}=={match['version']}{match['where'] or ''}"
        if found.setdefault(match["name"], pin) != pin:
            sys.exit(f"pyproject.toml has two lower ends, {found[match['name']]} and {pin}. Make them one.")
    return sorted(found.values())


def install(folder: Path, pins: list[str]) -> Path:
    """A virtual environment of exactly these versions, and of whatever pip takes beneath them; its Python."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    made_for = folder / "oldest.txt"
    text = "\n".join(pins) + "\n"
    if made_for.exists() and made_for.read_text() == text:
        return python
    if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").exists():
        sys.exit(f"{folder} is no virtual environment, and would be emptied. Name a folder that does not exist yet.")
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    constraints = folder / "constraints.txt"
    constraints.write_text(text)
    pip = [python, "-m", "pip", "install", "--constraint", constraints]
    # without isolation the lab is built by the oldest setuptools too, not by the newest
    subprocess.run([*pip, "setuptools"], check=True)
    subprocess.run([*pip, "--no-build-isolation", "--editable", ".[test,cluster]"], cwd=ROOT, check=True)
    constraints.rename(made_for)  # last, so that an installation that was stopped is made anew
    return python


def main() -> int:
    """The exit code of the tests."""
    if not sys.argv[1:] or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    pins = lowest(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8")))
    python = install(Path(sys.argv[1]).absolute(), pins)
    test = ["-m", "labutils", "test"]
    commands = [sys.argv[2:]] if sys.argv[2:] else [test, [*test, "--thorough"]]
    return max([abs(subprocess.run([python, *command], cwd=ROOT).returncode) for command in commands])


if __name__ == "__main__":
    sys.exit(main())
