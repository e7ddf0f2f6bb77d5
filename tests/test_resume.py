"""A training that is killed, at any instant, goes on to the same bits.

Run as a script, this file is the process whose children are killed: it trains once, on one thread, then forks them.
What PyTorch imports and builds at its first training, the children then have.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny

from labutils import runs
from labutils.models import MODELS
from labutils.training import train

POSIX = hasattr(os, "fork")
needs_fork = pytest.mark.skipif(not POSIX, reason="needs fork and SIGKILL, which this system does not have")


def in_child(work) -> int:
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


def kill_at_random(folder: Path, precision: str, epochs: int, kills: int) -> dict:
    """Train with the lab's own MLP; kill it at random instants, every second time while it saves; then let it end."""
    settings = {"epochs": epochs, "batch_size": 64, "precision": precision, "z_dim": 100}

    def training(name: str, saving: int):
        def told(*arguments):
            os.write(saving, b"<")
            written(*arguments)
            os.write(saving, b">")

        written, runs.write_whole = runs.write_whole, told
        train(tiny.config(**settings), folder / name, images=tiny.images(130), resume=True, progress=False)

    def started(name: str) -> tuple[int, int]:
        reading, writing = os.pipe()
        pid = in_child(lambda: training(name, writing))
        os.close(writing)
        return pid, reading

    train(tiny.config(**settings | {"epochs": 1}), folder / "first", images=tiny.images(130), progress=False)
    start = time.perf_counter()
    outcomes = [ended(started("whole")[0])]
    seconds = (time.perf_counter() - start) / (epochs + 1)
    chance, in_a_save = random.Random(precision), 0
    for number in range(kills):
        pid, reading = started("killed")
        seen = b""
        if number % 2:
            saves = chance.randrange(1, 15)
            while seen.count(b"<") < saves and (byte := os.read(reading, 1)):
                seen += byte
            time.sleep(chance.uniform(0, 0.01))
        else:
            time.sleep(chance.uniform(0, 2.5 * seconds))
        os.kill(pid, signal.SIGKILL)
        outcomes.append(ended(pid))
        while more := os.read(reading, 1000):
            seen += more
        os.close(reading)
        in_a_save += seen.endswith(b"<")
    outcomes.append(ended(started("killed")[0]))
    return {"outcomes": outcomes, "in a save": in_a_save}


def kill_at_each_operation(folder: Path) -> dict:
    """Train a tiny GAN; kill it at its first file operation, another at its second, and so on; let each end then.

    Every second one goes on from a first epoch, the others begin.
    """
    MODELS["mlp"] = tiny.NETWORKS
    settings = {"images": tiny.images(), "resume": True, "progress": False}

    def interrupt(run):
        raise KeyboardInterrupt

    begun = train(tiny.config(epochs=2), folder / "begun", on_epoch=interrupt, **settings).folder

    def training(target: Path, fatal: int = 0):
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
                self.file = opened(path, "wb", buffering=0)
                self.flush, self.fileno = self.file.flush, self.file.fileno

            def __enter__(self):
                return self

            def __exit__(self, *error):
                self.file.close()

            def write(self, content: bytes):
                counted(self.file.write)(content[: len(content) // 2])
                counted(self.file.write)(content[len(content) // 2 :])

        opened = Path.open
        Path.open = lambda path, mode="r", **more: InTwo(path) if mode == "wb" else opened(path, mode, **more)
        os.fsync, os.replace = counted(os.fsync), counted(os.replace)
        train(tiny.config(epochs=2), target, **settings)

    outcomes = [ended(in_child(lambda: training(folder / "whole")))]
    while outcomes[-1] == "finished":
        target = folder / f"{len(outcomes):03d}"
        if len(outcomes) % 2:
            shutil.copytree(begun, target)
        killed = ended(in_child(lambda target=target: training(target, fatal=len(outcomes))))
        if killed != "killed":
            break
        outcomes.append(ended(in_child(lambda target=target: training(target))))
    return {"outcomes": outcomes}


def hold(folder: Path) -> None:
    """Train for ever, and say so after the first epoch."""
    MODELS["mlp"] = tiny.NETWORKS
    train(
        tiny.config(), folder, images=tiny.images(), on_epoch=lambda run: print("here", flush=True) or time.sleep(600)
    )


def script(task: str, folder: Path, *arguments) -> dict:
    """What `task` of this file tells, done in a process that has nothing but PyTorch in it."""
    command = [sys.executable, __file__, task, str(folder), *map(json.dumps, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@needs_fork
@pytest.mark.parametrize(("precision", "epochs", "kills"), [("float32", 6, 20), ("bfloat16", 3, 5)])
def test_killed_at_random_instants(precision, epochs, kills, tmp_path):
    told = script("kill_at_random", tmp_path, precision, epochs, kills)
    assert told["outcomes"][0] == told["outcomes"][-1] == "finished"
    assert "failed" not in told["outcomes"]
    assert told["outcomes"].count("killed") >= kills // 2
    assert told["in a save"] >= 1
    assert tiny.fingerprint(tmp_path / "killed") == tiny.fingerprint(tmp_path / "whole")


@needs_fork
def test_killed_at_each_file_operation(tmp_path):
    outcomes = script("kill_at_each_operation", tmp_path)["outcomes"]
    assert set(outcomes) == {"finished"}
    assert len(outcomes) > 11 * 5  # what is read, then a save: two writes, fsync, rename, fsync of the folder each
    whole = tiny.fingerprint(tmp_path / "whole")
    for number in range(1, len(outcomes)):
        assert tiny.fingerprint(tmp_path / f"{number:03d}") == whole, f"killed at file operation {number}"


def test_one_writer_and_no_stale_lock(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "mlp", tiny.NETWORKS)
    again = {"folder": tmp_path / "run", "images": tiny.images(), "resume": True, "progress": False}
    command = [sys.executable, __file__, "hold", again["folder"]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert any("here" in line for line in other.stdout)
            with pytest.raises(runs.RunError, match=r"Another training is writing .*run; wait for it"):
                train(tiny.config(), **again)
        finally:
            other.kill()
    assert train(tiny.config(), **again).epochs == 3


if __name__ == "__main__":
    task, where, *rest = sys.argv[1:]
    print(json.dumps(globals()[task](Path(where), *map(json.loads, rest))))
