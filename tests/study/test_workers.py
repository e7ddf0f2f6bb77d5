"""A study comes out the same whatever happens to its processes, on one machine and on a cluster."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import killing
import pytest
import small_study
import tiny
from filelock import FileLock
from killing import POSIX, appeared, gone
from small_study import ROWS, cheap, endless, fatal, here, timeless

from labutils import __version__, runs
from labutils.runs import RunError
from labutils.study import Entry, Study, records, run_study, workers

pytestmark = pytest.mark.thorough

# One machine


def test_two_at_a_time_one_of_them_killed(whole, tmp_path, monkeypatch, few, capfd):
    monkeypatch.setattr(workers, "RESTARTS", 1)
    dies = Entry("Dies", tiny.config(images=48, z_dim=5, epochs=1), seeds=1)
    score = partial(fatal, tmp_path / "killed")
    shutil.copytree(whole, tmp_path / "study")
    shutil.rmtree(ROWS[0].place(tmp_path / "study", 0))
    found = run_study(Study((*ROWS, dies), 64), tmp_path / "study", workers=2, score=score)
    assert timeless(found) == timeless(records(whole))
    said = capfd.readouterr().out
    code = -9 if POSIX else 15
    assert f"Plain, averaged, seed 0: its process ended with exit code {code}" in said
    assert "Dies, seed 0: its process ended" in said
    assert "given up after 1 restarts" in said
    assert "[3/4] Plain, averaged, seed 0: 3 epochs in " in said
    assert "[4/4] " not in said


def test_stopped_and_continued_with_one_worker(whole, tmp_path, few, capfd):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "_in_processes", here)
        run_study(Study(ROWS, 64), tmp_path, seeds=1, score=cheap)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/seed=0/quality.json")}
    assert len(times) == 2
    changed = Entry("Changed", ROWS[0].config, seeds=1)
    (tmp_path / "changed").mkdir()
    shutil.copytree(whole / "breaks" / "seed=0", tmp_path / "changed" / "seed=0")
    found = run_study(Study((*ROWS, changed), 64), tmp_path, workers=1, score=cheap)
    assert timeless(found)[: len(records(whole))] == timeless(records(whole))
    assert {path: path.stat().st_mtime_ns for path in times} == times
    said = capfd.readouterr().out
    assert "[1/2] Plain, averaged, seed 0: 3 epochs in " in said
    assert "[2/2] Breaks, seed 0: diverged. " in said
    assert "[3/4] Plain, averaged, seed 1: 3 epochs in " in said
    assert "Changed, seed 0: " in said
    assert "holds another run: " in said
    with pytest.raises(ValueError, match="workers is 0"):
        run_study(Study(ROWS), tmp_path, workers=0)


def test_damaged_scores_are_named_and_can_be_made_anew(whole, tmp_path, few, capfd, monkeypatch):
    folder = shutil.copytree(whole, tmp_path / "study")
    scores = folder / "plain-averaged" / "seed=0" / "quality.json"
    scores.write_text("{")
    with pytest.raises(RunError, match=r"quality.json is damaged: delete it"):
        run_study(Study(ROWS, 64), folder, score=cheap)
    assert "Plain, averaged, seed 0: " in (said := capfd.readouterr().out)
    assert "is damaged: delete it" in said
    scores.unlink()
    monkeypatch.setattr(workers, "_in_processes", here)
    last = [r for r in run_study(Study(ROWS, 64), folder, score=cheap) if r["row"] == ROWS[0].name and r["seed"] == 0]
    assert timeless(last) == timeless([r for r in records(whole) if r["row"] == ROWS[0].name and r["seed"] == 0])[2:]


@pytest.mark.skipif(not POSIX, reason="needs SIGINT to oneself, which this system does not have")
def test_ctrl_c_ends_the_children(tmp_path, few, interruptible, capfd):
    marker = tmp_path / "pid"
    threading.Thread(target=lambda: appeared(marker) and os.kill(os.getpid(), signal.SIGINT)).start()
    run_study(Study(ROWS[:1], 64), tmp_path, workers=1, score=partial(endless, marker))
    assert gone(int(marker.read_text()))
    assert "Stopped: 0 of 2 runs are finished" in capfd.readouterr().out
    assert runs.load_run(tmp_path / "plain-averaged" / "seed=0").epochs == 1


def never_ends(folder: Path) -> None:
    small_study.install()
    run_study(Study(ROWS[:1], 64), folder, workers=1, score=partial(endless, folder / "pid"))


@pytest.mark.skipif(not POSIX, reason="looks for a process by its number")
def test_children_end_with_a_killed_parent(tmp_path):
    with subprocess.Popen(killing.command(never_ends, tmp_path)) as parent:
        try:
            assert appeared(tmp_path / "pid")
        finally:
            parent.kill()
    assert gone(int((tmp_path / "pid").read_text()))


# Many machines


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as made:
        yield made


def test_a_cluster_of_which_a_worker_is_killed(whole, tmp_path, few, cluster, capfd):
    score = partial(fatal, tmp_path / "killed")
    found = run_study(Study(ROWS, 64), tmp_path / "study", scheduler=cluster.scheduler_address, score=score)
    assert (tmp_path / "killed").exists()
    assert timeless(found) == timeless(records(whole))
    assert "[3/3] " in capfd.readouterr().out


@pytest.mark.skipif(not POSIX, reason="needs SIGINT to oneself, which this system does not have")
def test_ctrl_c_stops_the_cluster_after_an_epoch(tmp_path, few, cluster, interruptible, capfd):
    long = Entry("A", tiny.config(images=48, epochs=10**6), seeds=1)
    history = tmp_path / "a" / "seed=0" / "history.csv"
    threading.Thread(target=lambda: appeared(history) and os.kill(os.getpid(), signal.SIGINT)).start()
    run_study(Study((long,), 64), tmp_path, scheduler=cluster.scheduler_address, score=cheap)
    assert "Stopped: 0 of 1 runs" in capfd.readouterr().out
    with FileLock(tmp_path / "a" / ".seed=0.lock", timeout=60):  # the worker has let go of it
        assert 0 <= runs.load_run(history.parent).epochs < 10**6


def test_a_worker_with_threads_is_refused(tmp_path):
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": ":0"}
    with (
        distributed.LocalCluster(**options) as threaded,
        pytest.raises(RunError, match=r"has 2 threads.*dask worker --nthreads 1 --nworkers"),
    ):
        run_study(Study(ROWS), tmp_path, scheduler=threaded.scheduler_address)


def test_a_worker_that_cannot_take_part_says_why(tmp_path):
    worker = SimpleNamespace(state=SimpleNamespace(nthreads=1))
    assert "must be on a disk that all machines share" in workers._unfit(tmp_path, __version__, worker)
    (tmp_path / "study.json").touch()
    assert workers._unfit(tmp_path, __version__, worker) is None
    assert "this is 0.1. Install the same version" in workers._unfit(tmp_path, "0.1", worker)


def test_no_scheduler_and_no_distributed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(RunError, match="needs the package distributed, which is not installed: python -m pip install"):
        run_study(Study(ROWS), tmp_path, scheduler="tcp://127.0.0.1:9")
