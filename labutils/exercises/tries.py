"""What a student tried: one small file beside the runs, hints and solutions from it, and a picture of it all."""

import contextlib
import hashlib
import inspect
import json
import math
import tomllib
from pathlib import Path

import torch

from labutils.engine.files import RunError, write_whole
from labutils.runs import runs_folder

TEXTS = Path(__file__).parents[1] / "assets" / "exercises"  # NN.toml, one a notebook
TRIES = 3  # different wrong ones, before a solution is shown unasked for
COLOURS = {"right": "#009E73", "wrong": "#F0E442", "error": "#F0E442", "untouched": "white"}
STATES = ("untouched", "error", "wrong", "right")  # in this order: what was right once stays so


def texts(number: str) -> dict | None:
    """title, hints, solution and answer of an exercise; None if there is no such number."""
    path = TEXTS / f"{str(number).partition('.')[0]:0>2}.toml"
    return tomllib.loads(path.read_text("utf8"))["exercises"].get(str(number)) if path.is_file() else None


def numbers() -> list[str]:
    """The numbers of all exercises, in the order of the notebooks."""
    return [n for path in sorted(TEXTS.glob("*.toml")) for n in tomllib.loads(path.read_text("utf8"))["exercises"]]


def states() -> dict[str, str]:
    """The best state that each exercise ever had: "untouched", "error", "wrong" or "right"."""
    kept = _read()
    return {number: kept.get(number, {}).get("state", "untouched") for number in numbers()}


def record(result, answer: tuple) -> None:
    """Keep what became of a try; one that cannot be kept is said and hinders nothing."""
    kept = _read()
    one = kept.setdefault(result.number, {"state": "untouched", "wrong": [], "hints": 0})
    one["state"] = max(one["state"], result.state, key=STATES.index)
    if result.state in ("wrong", "error"):
        one["wrong"] = sorted({*one["wrong"], _digest(answer)})
    _write(kept)


def hint(number: str | float) -> None:
    """Print the next hint for an exercise; after the last one, all of them again."""
    if (about := _found(number := str(number).strip())) is None:
        return
    kept, hints = _read(), about["hints"]
    one = kept.setdefault(number, {"state": "untouched", "wrong": [], "hints": 0})
    for i in range(len(hints)) if one["hints"] >= len(hints) else [one["hints"]]:
        print(f"Hint {i + 1} of {len(hints)} for exercise {number}: {hints[i]}")
    one["hints"] = min(one["hints"] + 1, len(hints))
    _write(kept)


def solution(number: str | float, anyway: bool = False) -> None:
    """Print a solution, after three different wrong tries or when asked with anyway=True."""
    if (about := _found(number := str(number).strip())) is None:
        return
    one = _read().get(number, {})
    tries = len(one.get("wrong", []))
    if anyway or tries >= TRIES or one.get("state") == "right":
        print(about["solution"].strip())
    else:
        so_far = f"Exercise {number}: {tries} of {TRIES} different wrong tries so far; then the solution is shown."
        print(so_far, f'exercises.hint("{number}") helps; exercises.solution("{number}", anyway=True) shows it now.')


def solved(number: str):
    """What the lab's solution of an exercise defines, a tuple where that is several."""
    about, scope = texts(number), {"torch": torch, "nn": torch.nn, "math": math}
    exec(about["solution"], scope)  # the lab's own data
    names = about["answer"]
    return scope[names] if isinstance(names, str) else tuple(scope[name] for name in names)


def questions(folder: Path | None = None) -> dict[str, bool]:
    """The questions of the notebooks in a folder, the working one as a rule -> whether something is answered."""
    found = {}
    for path in sorted(Path(folder or Path.cwd()).glob("[0-9][0-9]_*.ipynb")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            for cell in json.loads(path.read_text("utf8"))["cells"]:
                if number := cell["metadata"].get("question"):
                    text = "".join(cell["source"]).strip()
                    found[number] = bool(text) and not (text.startswith("<!--") and text.endswith("-->"))
    return found


def progress(folder: Path | None = None):
    """Draw which exercises are solved, tried or untouched, and which questions are answered -> a matplotlib Figure."""
    import matplotlib.pyplot as plt

    marks = [(n, state, "s") for n, state in states().items()]
    marks += [(n, "right" if done else "untouched", "o") for n, done in questions(folder).items()]
    rows = sorted({number.partition(".")[0] for number, _, _ in marks}, key=int)
    figure, axes = plt.subplots(figsize=(9, 0.6 + 0.45 * len(rows)), layout="constrained")
    counts = dict.fromkeys([(row, shape) for row in rows for shape in "so"], 0)
    for number, state, shape in marks:
        row = number.partition(".")[0]
        x, y = counts[row, shape] + (9 if shape == "o" else 0), rows.index(row)
        counts[row, shape] += 1
        axes.scatter(x, y, 420, marker=shape, color=COLOURS[state], edgecolors="0.4")
        axes.text(x, y, number, ha="center", va="center", fontsize=8)
    axes.set(yticks=range(len(rows)), yticklabels=[f"notebook {int(row):02}" for row in rows], xticks=[])
    axes.set(ylim=(len(rows) - 0.4, -0.6), xlim=(-0.7, max([9, *(counts[k] + 9 for k in counts if k[1] == "o")])))
    solved = sum(state == "right" for _, state, shape in marks if shape == "s")
    title = f"{solved} of {len(numbers())} exercises solved (squares; tried: yellow); questions: circles"
    axes.set_title(title, fontsize=10)
    axes.spines[:].set_visible(False)
    plt.close(figure)
    return figure


def _found(number: str) -> dict | None:
    if (about := texts(number)) is None:
        print(f"There is no exercise {number!r}; there are {', '.join(numbers())}.")
    return about


def _digest(answer: tuple) -> str:
    """What tells one try from another: the source of the functions, or what there is instead."""
    parts = []
    for each in answer:
        methods = vars(each if inspect.isclass(each) else type(each)).values()  # no notebook keeps a class's source
        for one in [each] if inspect.isroutine(each) else [*filter(inspect.isfunction, methods)] or [each]:
            try:
                parts.append(inspect.getsource(one))
            except (TypeError, OSError):
                parts.append(repr(one).partition(" at 0x")[0])
    return hashlib.sha256("\n".join(parts).encode("utf8", "replace")).hexdigest()[:12]


def _path() -> Path:
    return runs_folder() / "exercises.json"


def _read() -> dict:
    """What was kept; nothing where the file is missing or damaged."""
    try:
        kept = json.loads(_path().read_text("utf8"))
        return {n: one for n, one in kept.items() if one["state"] in STATES and one["hints"] >= 0 and one["wrong"] != 0}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write(kept: dict) -> None:
    try:
        with contextlib.suppress(OSError):
            _path().parent.mkdir(parents=True, exist_ok=True)
        write_whole(_path(), (json.dumps(kept, indent=1) + "\n").encode())
    except RunError as error:
        print(f"(This try is not kept for exercises.progress(): {error})")
