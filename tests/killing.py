"""Processes that are killed: at random instants, at each file operation, or from outside.

Run as a script, this file does a task of a test module in a process that has nothing but PyTorch in it. A task that
kills trains once, on one thread, and then forks: what PyTorch imports and builds at its first training, the children
then have.
"""

import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from labutils.engine import files

POSIX = hasattr(os, "fork")
needs_fork = pytest.mark.skipif(not POSIX, reason="needs fork and SIGKILL, which this system does not have")
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


def command(task: Callable, folder: Path, *arguments) -> list[str]:
    """The command line that calls `task(folder, *arguments)` of a test module and prints what it returns as JSON."""
    module = sys.modules[task.__module__].__file__
    return [sys.executable, __file__, module, task.__name__, str(folder), *map(json.dumps, arguments)]


def script(task: Callable, folder: Path, *arguments):
    """What `task(folder, *arguments)` of a test module returns in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command(task, folder, *arguments), capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def in_child(work: Callable) -> int:
    """Fork a child that does `work` and ends; returns its process id."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return pid


def ended(pid: int) -> str:
    status = os.waitpid(pid, 0)[1]
    return "killed" if os.WIFSIGNALED(status) else "finished" if os.WEXITSTATUS(status) == 0 else "failed"


def at_random(work: Callable, chance: random.Random, saves: int, seconds: float) -> dict:
    """Have children do `work`, each killed after a file or some more, `saves` at most, until one ends before.

    After the beginning of that file up to `seconds` go by: few of them hit the writing, more of them what comes after.
    The child has itself killed, so that a busy machine changes nothing. Returns outcomes, and how many were in a save.
    """

    def fatal(saving: int, left: int, delay: float) -> None:
        def counted(*arguments):
            nonlocal left
            left -= 1
            os.write(saving, b"<")
            if left == 0:
                signal.setitimer(signal.ITIMER_REAL, delay)  # SIGALRM kills whoever does not handle it
            written(*arguments)
            os.write(saving, b">")

        written, files.write_whole = files.write_whole, counted
        work()

    outcomes, in_a_save = [], 0
    while not outcomes or outcomes[-1] == "killed":
        reading, writing = os.pipe()
        left, delay = chance.randint(1, saves), chance.choice((0.01, seconds)) * chance.random()
        outcomes.append(ended(in_child(lambda n=left, s=delay, saving=writing: fatal(saving, n, s + 1e-6))))
        os.close(writing)
        in_a_save += os.read(reading, 10_000).endswith(b"<")
        os.close(reading)
    return {"outcomes": outcomes, "in a save": in_a_save}


def at_each_operation(
    work: Callable, folder: Path, begun: Path | None = None, renames_only: bool = False, first: int = 1
) -> list[str]:
    """Kill `work` at its file operation number `first`, another at the one after, and so on; let each end then.

    `work` gets the folder to write to: <folder>/whole without a kill, then <folder>/001, 002, ... Every second finds
    a copy of `begun` there, if that is given. Returns the outcomes of those that were let end, the one of whole first.
    """
    outcomes = [ended(in_child(lambda: work(folder / "whole")))]
    while outcomes[-1] == "finished":
        number = first + len(outcomes) - 1
        target = folder / f"{number:03d}"
        if begun and number % 2:
            shutil.copytree(begun, target)

        def killed(number=number, target=target) -> None:
            _kill_at(number, renames_only)
            work(target)

        if ended(in_child(killed)) != "killed":
            break
        outcomes.append(ended(in_child(lambda target=target: work(target))))
    return outcomes


def _kill_at(fatal: int, renames_only: bool) -> None:
    """Have this process killed before its file operation of that number: half a write, fsync, a rename."""
    count = 0

    def counted(function):
        def operation(*arguments):
            nonlocal count
            count += 1
            if count == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)

        return operation

    class InTwo:
        """A file whose content is written in two halves."""

        def __init__(self, path: Path):
            self.file = opened(path, "xb", buffering=0)
            self.flush, self.fileno = self.file.flush, self.file.fileno

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def write(self, content: bytes):
            counted(self.file.write)(content[: len(content) // 2])
            counted(self.file.write)(content[len(content) // 2 :])

    opened, os.replace = Path.open, counted(os.replace)
    if not renames_only:
        os.fsync = counted(os.fsync)
        Path.open = lambda path, mode="r", **more: InTwo(path) if mode == "xb" else opened(path, mode, **more)


def appeared(path: Path) -> bool:
    """Wait for a file, two minutes at most."""
    return any(path.exists() or time.sleep(0.05) for _ in range(2400))


def gone(pid: int) -> bool:
    """Wait for a process to end, a minute at most."""
    for _ in range(1200):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


if __name__ == "__main__":
    module, task, where, *rest = sys.argv[1:]
    sys.path.insert(0, str(Path(module).parent))
    function = getattr(importlib.import_module(Path(module).stem), task)
    print(json.dumps(function(Path(where), *map(json.loads, rest))))
