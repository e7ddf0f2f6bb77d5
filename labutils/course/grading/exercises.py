"""Exercises judged from outside: a child performs, and only plain data come back; the verdict is made here."""

import ast
import contextlib
import functools
import importlib
import json
import linecache
import multiprocessing
import os
import re
import signal
import sys
import threading
import tomllib
from pathlib import Path

import safetensors.torch
import torch

from labutils.course.grading import sandbox, slices
from labutils.course.grading.reader import clean
from labutils.exercises.answer import EXERCISES, Result, observe, verdict

SECONDS_A_STUDENT, MOST_SEEN, MOST_TEXT = 60, 64 * 2**20, 8 * 2**20
ASSETS = Path(__file__).parents[2] / "assets" / "exercises"


@functools.cache
def catalogue() -> dict[str, dict]:
    """What is known of each exercise, by its number: title, answer, solution."""
    found = {}
    for path in sorted(ASSETS.glob("*.toml")):
        found |= tomllib.loads(path.read_text("utf8"))["exercises"]
    return {number: found[number] for number in sorted(found, key=order) if number in EXERCISES}


@functools.cache
def prepare() -> None:
    """Have PyTorch import what an optimiser's first step needs, and Matplotlib find its fonts, while they still may."""
    importlib.import_module("matplotlib.pyplot")
    parameter = torch.zeros(1, requires_grad=True)
    parameter.grad = torch.zeros(1)
    torch.optim.Adam([parameter]).step()


def order(number: str) -> tuple:
    """The place of "5.10" among the others."""
    return tuple(int(part) if part.isdecimal() else 0 for part in number.split("."))


def grade(untouched: dict, theirs: dict, execute: bool) -> tuple[dict[str, dict], list[str]]:
    """{number: {"state", "sentence", "suspects", "source"}} for all exercises, and the limits that were in force.

    `untouched`, the lab's notebooks, and `theirs`, the student's, are name -> cells; exercise "5.2" is in the one whose
    name begins with 05. Without `execute` none of his code is run, and every state but "untouched" is "not run".
    """
    spent, results, active = 0.0, {}, []
    if execute:
        prepare()
    for number, about in catalogue().items():
        name = next((name for name in untouched if name.startswith(f"{order(number)[0]:02d}")), "")
        cells = slices.put_over(untouched.get(name, []), theirs.get(name, []))
        found, broken = slices.statements((f"<cell {i}>", cell["source"]) for i, cell in enumerate(cells))
        names = [about["answer"]] if isinstance(about["answer"], str) else about["answer"]
        part = slices.slice_of(names, found)
        own = [cell for cell, *_ in part if cells[int(cell[6:-1])]["own"]]
        mine = [f"<cell {i}>" for i, cell in enumerate(cells) if number in re.split(r"[,\s]+", cell["exercise"])]
        if mine and mine[-1] in broken:
            result = Result(number, "error", f"your cell is no Python: {broken[mine[-1]]}.")
        elif not own:
            result = Result(number, "untouched", "not attempted yet.")
        elif not execute:
            result = Result(number, "not run", "")
        elif spent >= SECONDS_A_STUDENT:
            result = Result(number, "error", f"not run: the exercises before took {SECONDS_A_STUDENT} seconds.")
        else:
            result, limits, seconds = _one(number, names, part)
            spent, active = spent + seconds, limits or active
        code = "\n".join(cells[int(cell[6:-1])]["source"] for cell in own)
        results[number] = {"state": result.state, "sentence": clean(result.sentence, 600, lines=True)}
        results[number] |= {"suspects": slices.suspects(found, own), "source": clean(code, 4000, lines=True)}
    return results, active


def _one(number: str, names: list[str], part: list) -> tuple[Result, list[str], float]:
    """Have a child perform one exercise, and judge what it saw; with the limits in force, and the seconds that it took.

    A loop ends by the child's limit of CPU time; the clock is asked later, since a machine may be busy with others.
    """
    exercise = EXERCISES[number]
    cases, before = exercise.cases(), sum(os.times()[2:4])
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    ours, childs = context.Pipe(duplex=False)
    child = context.Process(target=perform, args=(childs, number, names, part, cases), daemon=True)
    child.start()
    childs.close()
    frames = []
    thread = threading.Thread(target=_listen, args=(ours, frames, len(cases) + 1), daemon=True)
    thread.start()
    thread.join(3 * sandbox.SECONDS)
    late = thread.is_alive()
    _end(child)
    thread.join(5)
    spent = 3 * sandbox.SECONDS if late else sum(os.times()[2:4]) - before
    active = _unpacked(frames[0]).get("active", []) if frames else []
    for case, frame in zip(cases, frames[1:], strict=False):
        seen = _unpacked(frame)
        result = verdict(exercise, case, seen) if seen.keys() >= {"error", "changed"} else _broken(number, seen)
        if not result:
            return result, active, spent
    if len(frames) - 1 < len(cases):
        stopped = late or spent > sandbox.SECONDS - 1
        why = "was stopped: it took too long" if stopped else f"ended the process (exit code {child.exitcode})"
        return Result(number, "error", f"your code {why}."), active, spent
    return Result(number, "right", "correct."), active, spent


def _broken(number: str, seen: dict) -> Result:
    return Result(number, "error", f"your code raised {clean(seen.get('raised', 'something unreadable'), 300)}.")


def _listen(pipe, frames: list[bytes], count: int) -> None:
    with contextlib.suppress(EOFError, OSError):
        total = 0
        while len(frames) < count and total < MOST_SEEN:
            frames.append(pipe.recv_bytes(MOST_SEEN))
            total += len(frames[-1])


def _end(child) -> None:
    """Kill a child, and whatever it may have begun."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(OSError):
            if os.getpgid(child.pid) == child.pid:
                os.killpg(child.pid, signal.SIGKILL)
    child.join(0.2)
    child.kill()
    child.join(5)


def perform(pipe, number: str, names: list[str], part: list, cases: list[dict]) -> None:
    """In the child: shut the doors, run the slice, perform the exercise on each case, send what was seen."""
    exercise, send, look, leave = EXERCISES[number], pipe.send_bytes, observe, os._exit
    prepare()
    os.environ.clear()  # what an error says comes back to the student
    os.environ["OMP_NUM_THREADS"] = "1"  # SciPy ends the process where it can start no threads
    active = ["time by the clock", *sandbox.shut(pipe.fileno())]
    torch.set_num_threads(1)
    send(packed({"active": active}))
    space = {"__name__": "__main__", "__builtins__": __builtins__}
    try:
        for cell, source, indices in part:
            linecache.cache[cell] = len(source), None, source.splitlines(keepends=True), cell
            body = ast.parse(source).body
            exec(compile(ast.Module([body[i] for i in indices], []), cell, "exec"), space)
        answer = tuple(space[name] for name in names)
        for case in cases:
            send(packed(look(exercise, answer if exercise.takes > 1 else answer[0], case)))
    except BaseException as error:
        with contextlib.suppress(BaseException):
            send(packed({"raised": f"{type(error).__name__}: {error}"[:300]}))
    finally:
        leave(0)


def packed(value) -> bytes:
    """Plain data as bytes: JSON, and its tensors as safetensors."""
    tensors = {}

    def plain(part):
        if isinstance(part, torch.Tensor):
            tensors[str(len(tensors))] = part.detach().contiguous().clone()
            return {"$tensor": str(len(tensors) - 1)}
        if isinstance(part, dict):
            return {str(key): plain(each) for key, each in part.items()}
        return [plain(each) for each in part] if isinstance(part, list | tuple) else part

    text = json.dumps(plain(value)).encode("utf8", "replace")
    return len(text).to_bytes(8, "little") + text + safetensors.torch.save(tensors)


def _unpacked(frame: bytes) -> dict:
    """The inverse, of bytes that a student's code may have written; {} where they are something else."""

    def whole(part):
        if isinstance(part, dict):
            return tensors[part["$tensor"]] if part.keys() == {"$tensor"} else {k: whole(v) for k, v in part.items()}
        return [whole(each) for each in part] if isinstance(part, list) else part

    try:
        length = min(int.from_bytes(frame[:8], "little"), MOST_TEXT)  # as objects it is many times as large
        tensors = safetensors.torch.load(frame[8 + length :])
        value = whole(json.loads(frame[8 : 8 + length]))
        return value if isinstance(value, dict) else {}
    except Exception:  # whatever a parser meets
        return {}
