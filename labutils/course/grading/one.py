"""One hand-in graded in a process of its own, and many of them side by side: a row each, whatever happens to one."""

import contextlib
import functools
import json
import multiprocessing
import multiprocessing.connection
import os
import re
import signal
import sys
import time
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from labutils.course.grading import sandbox
from labutils.course.grading.reader import HandIn, Source, Unreadable, _cells, clean, parsed, read
from labutils.engine.interrupts import deaf_children, kept_ctrl_c

NOTEBOOKS = Path(__file__).parents[3] / "notebooks"
VERSION = 2  # of a row; a later grader that makes others raises it
MOST_SECONDS, MEMORY = 600, 2 * 2**30  # of a hand-in; bytes on top of what the process has from the start


def stamp(source: Source, options: dict) -> str:
    """Changes with the hand-in, and with what is asked of it: a row with the same one need not be made again."""
    asked = {key: options[key] for key in ("execute", "rescore", "course", "number")}
    return f"{VERSION} {source.stamp()} {json.dumps(asked, sort_keys=True)}"


def row_of(source: Source, options: dict) -> dict:
    """All that is found out about a hand-in, JSON. Options: execute, rescore, course, number (a pattern), work."""
    began, row = time.process_time(), _blank(source, options)
    try:
        hand_in = read(source)
        row |= _about(hand_in, source, options)
        _graded(row, hand_in, options)
    except Unreadable as error:
        row["unreadable"] = clean(error, 400)
    except Exception as error:  # ours, not the student's: it must not stop the class, and the next call tries again
        why = f"The grader failed on it ({type(error).__name__}: {error}); the same command tries again."
        row |= {"unreadable": clean(why, 400), "stamp": ""}
    return row | {"cpu_seconds": time.process_time() - began + sum(os.times()[2:4])}


def _blank(source: Source, options: dict) -> dict:
    """The row of a hand-in of which nothing is known yet."""
    row = {"key": source.key, "source": clean(source.name, 200), "stamp": stamp(source, options), "unreadable": ""}
    row |= {"number": next(_numbers(source.name, options["number"]), ""), "number_inside": "", "name": ""}
    row |= {"language": "en", "course": options["course"], "made": "", "problems": [], "answers": {}, "claimed": {}}
    return row | {"runs": {}, "exercises": {}, "limits": [], "cpu_seconds": 0.0}


def _about(hand_in: HandIn, source: Source, options: dict) -> dict:
    said = hand_in.manifest
    inside = clean(unicodedata.normalize("NFKC", str(said.get("number", ""))), 32)
    numbers = list(_numbers(source.name, options["number"]))  # a date looks like a number too; -1 is a second try
    same = inside and any(f"{each}-".replace("_", "-").startswith(f"{inside}-".replace("_", "-")) for each in numbers)
    claimed = said["exercises"] if isinstance(said.get("exercises"), dict) else {}
    about = {"number": inside if same or not numbers else numbers[0], "number_inside": inside}
    about |= {"name": clean(said.get("name", ""), 80), "made": clean(said.get("made", ""), 40)}
    about |= {"language": "zh" if said.get("language") == "zh" else "en", "answers": hand_in.answers}
    about |= {"course": options["course"] or clean(said.get("course", ""), 120)}
    about |= {"problems": [clean(problem, 300) for problem in hand_in.problems]}
    return about | {"claimed": {clean(key, 8): clean(value, 12) for key, value in list(claimed.items())[:100]}}


def _graded(row: dict, hand_in: HandIn, options: dict) -> None:
    from labutils.course.grading import evidence, exercises  # PyTorch: not before there is something to do
    from labutils.course.student import seed_of

    exercised, limits = exercises.grade(untouched(), hand_in.notebooks, options["execute"])
    row |= {"exercises": exercised, "limits": limits}
    seed = seed_of(row["course"], row["number"]) if row["number"] and row["course"] else None
    named = hand_in.manifest["runs"] if isinstance(hand_in.manifest.get("runs"), dict) else {}
    named = {clean(path, 200).removeprefix("runs/").strip("/"): clean(what, 30) for what, path in named.items()}
    with evidence.unpacked(hand_in, Path(options["work"]) / row["key"]) as folders:
        for name, folder in folders.items():
            claim = hand_in.scores.get(f"runs/{name}")
            kind = named.get(name, "")
            found = evidence.examine(folder, seed, claim, options["rescore"], kind in ("mlp", "dcgan", ""))
            row["runs"][clean(name, 120)] = found | {"as": kind, "verified": evidence.verified(found)}
    if missing := sorted(set(named) - set(folders)):
        row["problems"].append(f"The run {missing[0]!r} is named, and not in the hand-in.")


@functools.cache
def untouched() -> dict[str, list[dict]]:
    """The cells of the lab's own notebooks, by name."""
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    return {path.stem: _cells(parsed(path.read_bytes(), path.name), path.name) for path in paths}


def _numbers(name: str, pattern: str) -> Iterator[str]:
    """What may be a student's number in a name; wide digits are plain ones."""
    for found in re.finditer(pattern, unicodedata.normalize("NFKC", name)):
        yield from (clean(group, 32) for group in found.groups() if group)


def _work(pipe, source: Source, options: dict) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    sandbox.bound_memory(MEMORY)  # a hand-in may claim networks of any size
    warnings.simplefilter("ignore")  # of Pillow, of large pictures: the row says what is wrong
    row = json.dumps(row_of(source, options)).encode("utf8", "replace")
    with contextlib.suppress(OSError):  # the parent has ended
        pipe.send_bytes(row)


def rows_of(sources: Iterable[Source], options: dict, workers: int) -> Iterator[dict]:
    """The rows of hand-ins as they are ready, each made in a process of its own: nothing of one outlives it."""
    os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "MPLBACKEND": "agg"}
    if sys.platform == "linux":
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["labutils.course.grading.warm"])
    else:
        context = multiprocessing.get_context("spawn")
    waiting, running = list(sources), {}
    with kept_ctrl_c() as ask:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    source = waiting.pop(0)
                    ours, theirs = context.Pipe(duplex=False)
                    process = context.Process(target=_work, args=(theirs, source, options))
                    with deaf_children():
                        process.start()
                    running[ours] = source, process, time.monotonic() + MOST_SECONDS
                    theirs.close()
                ready, now = multiprocessing.connection.wait(list(running), timeout=0.2), time.monotonic()
                ask()
                for pipe in ready + [pipe for pipe in running if pipe not in ready and now > running[pipe][2]]:
                    source, process, _ = running.pop(pipe)
                    with pipe:
                        row = _received(pipe, source, process, options)
                    yield row
        finally:
            for _, process, _ in running.values():
                process.kill()
                process.join()


def _received(pipe, source: Source, process, options: dict) -> dict:
    with contextlib.suppress(EOFError, OSError, ValueError):
        if pipe.poll(0):
            row = json.loads(pipe.recv_bytes())
            process.join()
            return row
    process.join(1)
    again = {} if process.exitcode is None else {"stamp": ""}  # one that still runs would take as long once more
    process.kill()
    process.join()
    why = f"Its grading ended without a result (exit code {process.exitcode}), for want of memory or of time."
    return _blank(source, options) | {"unreadable": why} | again
