"""The engines of a study: processes of this machine, or workers of a Dask cluster; a run whose process dies goes on."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from labutils import __version__
from labutils.engine.clock import processors
from labutils.engine.interrupts import deaf_children, kept_ctrl_c
from labutils.engine.machine import choose_device
from labutils.engine.paths import expanded
from labutils.runs import Run, RunError
from labutils.study.one_run import Score, finished, measured, read_scores, run_one
from labutils.study.results import METRICS, records
from labutils.study.rows import Entry, Study, write_study
from labutils.study.scheduler import why_not

RESTARTS = 3  # so often a run whose process dies is started again
REFUSED = 3  # exit code of a process that ended with a sentence: starting it again would not help
UNGUARDED = 4  # of one that ran, instead, the script in which run_study is called
GUARD = (
    "Each run has a process of its own, which imports the script that calls run_study and must not come to this call. "
    'Put the call, and what prints or trains, below a line `if __name__ == "__main__":`.'
)
ON_A_GPU = 3  # runs at a time on one card: a run leaves most of it idle, and takes half a gigabyte of it
DASK_WORKERS = "dask worker --nthreads 1 --nworkers -1"


def run_study(
    study: Study,
    folder: str | Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    rows: list[str] | None = None,
    seeds: int | None = None,
    score: Score = measured,
) -> list[dict]:
    """Train and score whatever of a study is not yet finished; stop it at any time, call it again and it goes on.

    Args:
        study: what to run, from `load_study`.
        folder: where it is kept; on a cluster, one that all its machines see under this name.
        workers: how many runs at a time, each in a process of its own; `at_once()` if not given.
        scheduler: address of a Dask scheduler, such as "tcp://host:8786", to run on its workers instead.
        rows, seeds: names of the rows to run (all if not given), and at most so many seeds of each.
        score: what quality.json keeps of a generator; a function that a module defines.
    Returns:
        `records(folder)`.
    Raises:
        RunError: the cluster cannot be used. A run that fails does not raise: it is named, and the others go on.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}; expected a whole number of at least 1.")
    _refuse_unguarded()
    folder, jobs = expanded(folder), study.jobs(rows, seeds)
    write_study(study, folder)
    left = [job for job in jobs if not finished(*job, folder)]
    ended = len(jobs) - len(left)

    def tell(job: tuple[Entry, int], failure: str | None = None) -> None:
        nonlocal ended
        ended += failure is None
        print(f"[{ended}/{len(jobs)}] {job[0].name}, seed {job[1]}: {failure or _result(*job, folder)}", flush=True)

    try:
        if scheduler is not None:
            _on_cluster(left, scheduler, (folder, study.samples, score), tell)
        else:
            _in_processes(left, workers or at_once(), (folder, study.samples, score), tell)
    except KeyboardInterrupt:
        print(f"Stopped: {ended} of {len(jobs)} runs are finished in {folder}. The same call goes on with the others.")
    return records(folder)


def at_once() -> int:
    """How many runs are trained at a time on this machine: one a processor, and no more than a GPU takes."""
    return min(processors(), ON_A_GPU) if choose_device().type == "cuda" else processors()


def _refuse_unguarded() -> None:
    """End a child that runs the script of its parent once more, and a script that no child could import."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # so a child is marked while it imports
        sys.exit(UNGUARDED)
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script and not os.path.isfile(script):
        sys.exit(f"The processes of a study import the script that starts it, and {script} is no file. Save it as one.")


def _result(entry: Entry, seed: int, folder: Path) -> str:
    kept = read_scores(entry.place(folder, seed))
    if kept["diverged"]:
        return f"diverged. {kept['diverged']}"
    last = max(kept["scores"], key=lambda point: (point["epoch"], point["averaged"]))
    numbers = ", ".join(f"{key} {last[key]:.4g}" for key in METRICS if key in last)
    return f"{last['epoch']} epochs in {last['cpu_seconds']:.0f} CPU seconds; {numbers}"


def _in_processes(jobs: list, workers: int, task: tuple, tell: Callable) -> None:
    """The engine of one machine: a process for each run, `workers` of them at a time."""
    waiting, running, deaths = deque(jobs), {}, Counter()
    spawn, threads = multiprocessing.get_context("spawn"), os.environ.get("OMP_NUM_THREADS")
    each = processors() // workers if choose_device().type == "cuda" else 1  # scores are a CPU's work
    os.environ["OMP_NUM_THREADS"] = str(max(1, each))  # of a process, from its first import on
    with kept_ctrl_c() as ask:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    job = waiting.popleft()
                    process = spawn.Process(target=_child, args=(*job, *task), daemon=True)
                    with deaf_children():  # Ctrl-C reaches the parent, which ends its children
                        process.start()
                    running[process.sentinel] = process, job
                for sentinel in multiprocessing.connection.wait(list(running), timeout=0.2):
                    process, job = running.pop(sentinel)
                    process.join()
                    if _ended(process.exitcode, job, task[0], deaths, tell):
                        waiting.appendleft(job)
                ask()
        finally:
            os.environ.pop("OMP_NUM_THREADS") if threads is None else os.environ.update(OMP_NUM_THREADS=threads)
            for process, _ in running.values():
                process.terminate()  # a run may be killed at any instant: what it has saved is good
            for process, _ in running.values():
                process.join()


def _ended(exitcode: int, job: tuple, folder: Path, deaths: Counter, tell: Callable) -> bool:
    """Tell how the process of a run ended; whether the run is to go on in another one."""
    log = job[0].place(folder, job[1]).with_suffix(".log")
    if exitcode == UNGUARDED:
        sys.exit(GUARD)  # it is a script: no traceback
    if exitcode in (0, REFUSED):
        tell(job, log.read_text("utf8").strip().rpartition("\n")[2] if exitcode else None)
        return False
    deaths[job] += 1
    again = deaths[job] <= RESTARTS
    then = "it goes on from its last epoch" if again else f"given up after {RESTARTS} restarts"
    tell(job, f"its process ended with exit code {exitcode} ({log} may say why); {then}.")
    return again


def _child(entry: Entry, seed: int, folder: Path, *task) -> None:
    """What such a process does; what it prints goes to a file beside the run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where no mask keeps it off
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tqdm.set_lock(threading.RLock())  # its own would be a semaphore that nobody removes when the process is killed
    log = entry.place(folder, seed).with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout = sys.stderr = log.open("a", 1, encoding="utf8")
    try:
        run_one(entry, seed, folder, *task)
    except (RunError, ValueError) as error:
        print(error)
        sys.exit(REFUSED)


def _end_with_parent() -> None:
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _on_cluster(jobs: list, scheduler: str, task: tuple, tell: Callable) -> None:
    """The engine of several machines: each run is a task of Dask, which gives that of a lost worker to another one."""
    try:
        from distributed import Client, as_completed
    except ImportError:
        install = "python -m pip install distributed"
        raise RunError(f"A cluster needs the package distributed, which is not installed: {install}") from None
    if why := why_not(scheduler):
        raise RunError(why)
    try:
        client = Client(scheduler, timeout=10)
    except Exception as error:  # whatever it meets at what answers like a scheduler
        raise RunError(f"The scheduler at {scheduler} cannot be used: {type(error).__name__}, {error}.") from None
    with client:  # leaving it takes back what is not finished
        try:
            client.wait_for_workers(1, timeout=10)
        except TimeoutError:
            start = f"{DASK_WORKERS} {scheduler}"
            raise RunError(f"The scheduler has no workers. Start some on each machine: {start}") from None
        try:
            answers = client.run(_unfit, task[0], __version__)
        except Exception as error:  # whatever a worker says on which this module cannot be imported
            raise RunError(f"A worker cannot run this labutils: {error}. Install the same version there.") from None
        for worker, answer in sorted(answers.items()):
            if answer:
                raise RunError(f"The worker {worker} {answer}")
        options = {"pure": False, "retries": RESTARTS}
        futures = {client.submit(_on_worker, __version__, *job, *task, **options): job for job in jobs}
        for future in as_completed(futures):
            if future.cancelled():
                raise RunError(f"The scheduler at {scheduler} is lost. What is finished is kept: call again to go on.")
            error = future.exception()
            tell(futures[future], (str(error) or repr(error)) if error else None)


def _unfit(folder: Path, version: str, dask_worker) -> str | None:
    """Asked on a worker: why it cannot take part, if so."""
    threads = dask_worker.state.nthreads
    if threads != 1:  # threads, flushing of denormals and random state belong to the whole process
        start = f"{DASK_WORKERS} ADDRESS"
        return f"has {threads} threads, and a training needs a process of its own. Start them so: {start}"
    if __version__ != version:
        return f"has labutils {__version__}, this is {version}. Install the same version there."
    if not (folder / "study.json").is_file():
        return f"does not see {folder}. The folder of a study must be on a disk that all machines share."
    return None


def _on_worker(version: str, entry: Entry, seed: int, folder: Path, *task) -> None:
    """The task of Dask: one run, left after an epoch if the client no longer wants it."""
    from distributed import get_worker

    worker = get_worker()
    if why := _unfit(folder, version, worker):  # it may have come later
        raise RunError(f"The worker {worker.address} {why}")
    state = worker.state.tasks[worker.get_current_task()]

    def stop_if_cancelled(run: Run) -> None:
        if state.state == "cancelled":
            raise KeyboardInterrupt

    run_one(entry, seed, folder, *task, on_epoch=stop_if_cancelled)
