"""Many runs side by side: rows (a TrainConfig each) times seeds, in processes of one machine or on a Dask cluster.

A study's folder holds study.json (its rows) and for each run <row>/seed=<k>/: a run as `labutils.training.train` keeps
it, and beside it quality.json, the scores of its generator after some of its epochs.
"""

import argparse
import contextlib
import io
import math
import multiprocessing
import multiprocessing.connection
import os
import re
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
import tomllib
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from torch import nn
from tqdm import tqdm

from labutils import __version__, quality, runs
from labutils.data import load_mnist
from labutils.engine.machine import numerics
from labutils.models import count_parameters
from labutils.runs import RunError
from labutils.training import TrainConfig, TrainingDiverged, train

SHIPPED = Path(__file__).parent / "assets" / "study"
NOISE = 10_000  # added to a run's seed for the noise of its scores, which is then none of the training's
RESTARTS = 3  # so often a run whose process dies is started again
TOLD = 3  # exit code of a process that ended with a sentence: starting it again would not help
UNTIMED = {"init": "default", "lr": 1, "d_lr": None, "beta1": 0.5, "epochs": 1}  # set alike: they change no step's time
SHOWN = ("frechet", "kid", "density", "coverage", "precision", "recall")
START = "dask worker --nthreads 1 --nworkers -1"
Score = Callable[[nn.Module, int, int], dict]  # (generator, how many images, seed of the noise) -> numbers to keep


def measured(generator: nn.Module, samples: int, seed: int) -> dict:
    """The numbers of `labutils.quality.score` for that many images of a generator."""
    return quality.score(quality.draw(generator, samples, seed=seed)).to_dict()


@dataclass(frozen=True)
class Row:
    """One row of a study: a config to be trained with the seeds 0, 1, ..., and the epochs that are scored."""

    name: str
    config: TrainConfig
    seeds: int = 5
    measure: tuple[int, ...] = ()  # epochs; the last one is always measured
    group: str = ""  # for notebooks: rows of a group make a table
    ship_weights: bool = False  # whether `ship` takes the generator of seed 0

    def __post_init__(self):
        epochs_good = isinstance(self.measure, list | tuple) and all(type(e) is int and e > 0 for e in self.measure)
        checks = {
            "name": (isinstance(self.name, str) and self.slug, "a text with a letter or digit"),
            "seeds": (type(self.seeds) is int and self.seeds > 0, "a whole number of at least 1"),
            "measure": (epochs_good, "a list of epochs, whole numbers of at least 1"),
            "group": (isinstance(self.group, str), "a text"),
            "ship_weights": (isinstance(self.ship_weights, bool), "true or false"),
        }
        for key, (good, expected) in checks.items():
            if not good:
                raise ValueError(f"{key} is {getattr(self, key)!r}; expected {expected}.")
        last = self.config.epochs
        object.__setattr__(self, "measure", tuple(sorted({*(e for e in self.measure if e < last), last})))

    @property
    def slug(self) -> str:
        """The name as that of a folder."""
        return re.sub(r"(?:[^\w.]|_)+", "-", self.name.lower()).strip("-.")

    def place(self, folder: Path, seed: int) -> Path:
        """Where its run with that seed is kept."""
        return folder / self.slug / f"seed={seed}"


@dataclass(frozen=True)
class Study:
    """Rows, and how many images a score takes."""

    rows: tuple[Row, ...]
    samples: int = 10_000

    def __post_init__(self):
        if twice := [slug for slug, count in Counter(row.slug for row in self.rows).items() if count > 1]:
            raise ValueError(f"Two rows would be kept in the folder {twice[0]!r}; change letters or digits of a name.")
        if type(self.samples) is not int or self.samples < 1:
            raise ValueError(f"samples is {self.samples!r}; expected a whole number of at least 1.")

    def jobs(self, rows: list[str] | None = None, seeds: int | None = None) -> list[tuple[Row, int]]:
        """(row, seed) of each run: seed 0 of all rows, then seed 1, ..., so that a study stopped early is balanced."""
        if seeds is not None and seeds < 1:
            raise ValueError(f"seeds is {seeds}; expected a whole number of at least 1.")
        if odd := set(rows or ()) - {row.name for row in self.rows}:
            raise ValueError(f"There is no row {min(odd)!r}; there are: {'; '.join(row.name for row in self.rows)}.")
        return [
            (row, seed)
            for seed in range(max(row.seeds for row in self.rows))
            for row in self.rows
            if seed < min(row.seeds, seeds or row.seeds) and (not rows or row.name in rows)
        ]


def load_study(path: str | Path | None = None) -> Study:
    """The study of a TOML file (default: the one that comes with labutils); ValueError says what is wrong with it."""
    path = Path(path or SHIPPED / "study.toml")
    try:
        text = tomllib.loads(path.read_text("utf8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise ValueError(f"{path} is not TOML: {error}.") from None
    of_config = [field.name for field in fields(TrainConfig) if field.name != "seed"]
    of_row = [field.name for field in fields(Row) if field.name not in ("name", "config")]
    try:
        rows = _table(text, "rows")
        _only(text, ["common", "rows", "samples", *of_row])
        common = _table(text, "common")
        _only(common, of_config, "common: ")
        made = []
        for name in rows:
            row = _table(rows, name)
            _only(row, of_config + of_row, f"row {name!r}: ")
            try:
                config = TrainConfig(**common | {key: row[key] for key in of_config if key in row})
                made.append(Row(name, config, **{key: (text | row)[key] for key in of_row if key in text | row}))
            except (ValueError, TypeError) as error:
                raise ValueError(f"row {name!r}: {error}") from None
        if not made:
            raise ValueError('there are no rows; expected tables [rows."a name"].')
        return Study(tuple(made), text.get("samples", Study.samples))
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None


def _table(text: dict, key: str) -> dict:
    if not isinstance(text.get(key, {}), dict):
        raise ValueError(f"{key} is {text[key]!r}; expected a table.")
    return text.get(key, {})


def _only(table: dict, known: list[str], where: str = "") -> None:
    if odd := [key for key in table if key not in known]:
        raise ValueError(f"{where}{odd[0]!r} is unknown; there are {', '.join(known)}.")


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
        workers: how many runs at a time, each in a process of its own; one a processor if not given.
        scheduler: address of a Dask scheduler, such as "tcp://host:8786", to run on its workers instead.
        rows: names of the rows to run; all if not given.
        seeds: at most so many seeds a row.
        score: what quality.json keeps of a generator; a function that a module defines.
    Returns:
        `records(folder)`.
    Raises:
        RunError: the cluster cannot be used. A run that fails does not raise: it is reported, and the others go on.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}; expected a whole number of at least 1.")
    folder = Path(folder).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    jobs = study.jobs(rows, seeds)
    there = None
    with contextlib.suppress(RunError):  # none yet, damaged, or of another version
        there = _read(folder)
    if there != study:  # else left alone: calls for other rows may be at work in the same folder
        runs.write_json(folder / "study.json", asdict(study))
    left = [job for job in jobs if not _finished(*job, folder)]
    ended = len(jobs) - len(left)

    def tell(job: tuple[Row, int], failure: str | None = None) -> None:
        nonlocal ended
        ended += failure is None
        print(f"[{ended}/{len(jobs)}] {job[0].name}, seed {job[1]}: {failure or _summary(*job, folder)}", flush=True)

    try:
        if scheduler:
            _on_cluster(left, scheduler, (folder, study.samples, score), tell)
        else:
            _in_processes(left, workers or processors(), (folder, study.samples, score), tell)
    except KeyboardInterrupt:
        print(f"Stopped: {ended} of {len(jobs)} runs are finished in {folder}. The same call goes on with the others.")
    return records(folder)


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_one(row: Row, seed: int, folder: Path, samples: int, score: Score = measured, on_epoch=None) -> None:
    """Train one run of a study from one measured epoch to the next, and score it there; goes on where it stopped.

    A score is on disk before the next epoch begins: whenever the process is killed, no epoch goes without its score.
    """
    place = row.place(folder, seed)
    config, images = replace(row.config, seed=seed), load_mnist().images
    with runs.one_writer(place, place.with_name(f".{place.name}.lock"), timeout=60):  # a lost process holds it so long
        kept = _kept(place) or {"row": row.name, "seed": seed, "diverged": None, "scores": []}
        scored = {point["epoch"] for point in kept["scores"]}
        for epoch in [e for e in row.measure if e not in scored] or [config.epochs]:  # has `train` check the config too
            try:
                until = replace(config, epochs=epoch)
                run = train(until, place, images=images, resume=True, on_epoch=on_epoch, progress=False)
            except TrainingDiverged as error:
                kept["diverged"] = str(error).replace(str(place), row.slug)  # a result as good as a score
                run = runs.load_run(place)
            if run.interrupted:
                return
            if run.epochs > config.epochs:
                raise RunError(f"{place} has {run.epochs} epochs and no score after {config.epochs}: delete it.")
            asked = run.epochs == epoch and epoch not in scored  # it may be past, if asked for later
            if asked and not kept["diverged"]:
                kept["scores"] += _scores(run, samples, score)
            networks = {"generator": run.generator(), "discriminator": run.discriminator()}
            kept |= {f"{name}_parameters": count_parameters(network) for name, network in networks.items()}
            runs.write_json(place / "quality.json", kept)
            if kept["diverged"]:
                return


def _scores(run: runs.Run, samples: int, score: Score) -> list[dict]:
    """What is kept of a run after its last epoch: a dictionary for each of its generators, averaged first."""
    points = []
    with numerics(run.config["machine"]):
        for averaged in _variants(run):
            start = time.perf_counter()
            found = score(run.generator(averaged=averaged), samples, NOISE + run.config["train"]["seed"])
            took = {"score_seconds": time.perf_counter() - start}
            points.append({"epoch": run.epochs, "averaged": averaged} | _spent(run) | took | found)
    return points


def _variants(run: runs.Run) -> list[bool]:
    """Which generators a run has: averaged over the training or not."""
    return [True, False] if run.config["train"].get("ema") else [False]


def _spent(run: runs.Run) -> dict[str, float]:
    """Seconds of training up to the run's last epoch; scoring is not in them."""
    return {key: sum(row[key] for row in run.history) for key in ("cpu_seconds", "seconds")}


def _read(folder: Path) -> Study:
    """The study that is kept in a folder."""
    if not (folder / "study.json").is_file():
        raise RunError(f"{folder} is not a study: it has no study.json. `python -m labutils study` makes one.")
    kept = runs.read_json(folder / "study.json")
    try:
        rows = [Row(**row | {"config": TrainConfig(**row["config"])}) for row in kept["rows"]]
        return Study(tuple(rows), kept["samples"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{folder / 'study.json'} is of another labutils ({error}): start the study there again."
        ) from None


def _kept(place: Path) -> dict:
    """The scores of a run, {} if there are none yet."""
    path = place / "quality.json"
    try:
        return runs.read_json(path) if path.exists() else {}
    except RunError:
        raise RunError(f"{path} is damaged: delete it, and the next call scores the last epoch anew.") from None


def _finished(row: Row, seed: int, folder: Path) -> bool:
    """Whether a run has all that the study wants of it; a damaged one, or that of another config, has not."""
    place = row.place(folder, seed)
    try:
        kept, there = _kept(place), TrainConfig(**runs.read_json(place / "config.json")["train"])
    except (RunError, ValueError, TypeError):
        return False
    same = replace(there, epochs=row.config.epochs) == replace(row.config, seed=seed)
    scored = [point["epoch"] for point in kept.get("scores", [])]
    return same and bool(kept.get("diverged") or row.config.epochs in scored)


def _summary(row: Row, seed: int, folder: Path) -> str:
    kept = _kept(row.place(folder, seed))
    if kept["diverged"]:
        return f"diverged. {kept['diverged']}"
    last = max(kept["scores"], key=lambda point: (point["epoch"], point["averaged"]))
    numbers = ", ".join(f"{key} {last[key]:.4g}" for key in SHOWN if key in last)
    return f"{last['epoch']} epochs in {last['cpu_seconds']:.0f} CPU seconds; {numbers}"


def _in_processes(jobs: list, workers: int, task: tuple, tell: Callable) -> None:
    """The engine of one machine: a process for each run, `workers` of them at a time."""
    waiting, running, deaths = deque(jobs), {}, Counter()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                job = waiting.popleft()
                process = _started(job, task)
                running[process.sentinel] = process, job
            for sentinel in multiprocessing.connection.wait(list(running)):
                process, job = running.pop(sentinel)
                process.join()
                log = _log(job, task[0])
                if process.exitcode in (0, TOLD):
                    tell(job, log.read_text("utf8").strip().rpartition("\n")[2] if process.exitcode else None)
                    continue
                deaths[job] += 1
                then = f"given up after {RESTARTS} restarts"
                if deaths[job] <= RESTARTS:
                    then = "it goes on from its last epoch"
                    waiting.appendleft(job)
                tell(job, f"its process ended with exit code {process.exitcode} ({log} may say why); {then}.")
    finally:
        for process, _ in running.values():
            process.terminate()  # a run may be killed at any instant: what it has saved is good
        for process, _ in running.values():
            process.join()


def _started(job: tuple, task: tuple) -> multiprocessing.Process:
    """A process that works on a run, with one thread from its first import on."""
    process = multiprocessing.get_context("spawn").Process(target=_child, args=(*job, *task), daemon=True)
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        process.start()
    finally:
        os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)
    return process


def _child(row: Row, seed: int, folder: Path, *task) -> None:
    """What such a process does; what it prints goes to a file beside the run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends its children
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tqdm.set_lock(threading.RLock())  # its own would be a semaphore that nobody removes when the process is killed
    log = _log((row, seed), folder)
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout = sys.stderr = log.open("a", 1, encoding="utf8")
    try:
        run_one(row, seed, folder, *task)
    except (RunError, ValueError) as error:
        print(error)
        sys.exit(TOLD)


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
    try:
        client = Client(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise RunError(f"No Dask scheduler answers at {scheduler} ({error}). Start one: dask scheduler.") from None
    with client:  # leaving it takes back what is not finished
        try:
            client.wait_for_workers(1, timeout=30)
        except TimeoutError:
            raise RunError(f"The scheduler has no workers. Start some on each machine: {START} {scheduler}") from None
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
        return f"has {threads} threads, and a training needs a process of its own. Start them so: {START} ADDRESS"
    if __version__ != version:
        return f"has labutils {__version__}, this is {version}. Install the same version there."
    if not (folder / "study.json").is_file():
        return f"does not see {folder}. The folder of a study must be on a disk that all machines share."
    return None


def _on_worker(version: str, row: Row, seed: int, folder: Path, *task) -> None:
    """The task of Dask: one run, left after an epoch if the client no longer wants it."""
    from distributed import get_worker

    worker = get_worker()
    if why := _unfit(folder, version, worker):  # it may have come later
        raise RunError(f"The worker {worker.address} {why}")
    state = worker.state.tasks[worker.get_current_task()]

    def stop_if_cancelled(run: runs.Run) -> None:
        if state.state == "cancelled":
            raise KeyboardInterrupt

    run_one(row, seed, folder, *task, on_epoch=stop_if_cancelled)


def _log(job: tuple, folder: Path) -> Path:
    return job[0].place(folder, job[1]).with_suffix(".log")


def records(folder: str | Path | None = None) -> list[dict]:
    """All scores of a study (default: of the shipped one), a dictionary each, in the order of its rows, seeds, epochs.

    Keys: row, group, seed, epoch, averaged, diverged, cpu_seconds and seconds of training up to there,
    generator_parameters, discriminator_parameters, config (TrainConfig's fields), and what the score function gave.
    A run that diverged has a record without scores for each later epoch that its row measures.
    """
    folder, found = Path(folder or SHIPPED).expanduser(), []
    for row in _read(folder).rows:
        for seed in range(row.seeds):
            place = row.place(folder, seed)
            if not (kept := _kept(place)):
                continue
            run = runs.load_run(place)
            same = {"row": row.name, "group": row.group, "seed": seed, "config": run.config["train"]}
            same |= {key: kept[key] for key in ("generator_parameters", "discriminator_parameters")}
            found += [same | {"diverged": False} | point for point in kept["scores"]]
            later = [epoch for epoch in row.measure if epoch > run.epochs] if kept["diverged"] else []
            for epoch in later:
                for averaged in _variants(run):
                    found.append(same | {"epoch": epoch, "averaged": averaged, "diverged": True} | _spent(run))
    return found


def table(records: list[dict], at_cpu_seconds: float | None = None) -> list[dict]:
    """Mean, sd, median, min and max over seeds for each (row, averaged, epoch) of some records, in their order.

    With `at_cpu_seconds` instead one line for each (row, averaged): of each run the last score that it had reached
    within so many CPU seconds of training; math.inf takes the last score of all.
    """
    if at_cpu_seconds is not None:
        reached = [record for record in records if record["cpu_seconds"] <= at_cpu_seconds]
        records = list({(r["row"], r["averaged"], r["seed"]): r for r in reached}.values())  # the last of each remains
    groups = {}
    for record in records:
        key = (record["row"], record["averaged"], record["epoch"] if at_cpu_seconds is None else None)
        groups.setdefault(key, []).append(record)
    return [_line(members) for members in groups.values()]


def _line(members: list[dict]) -> dict:
    same = ("row", "group", "averaged", "generator_parameters", "discriminator_parameters")
    line = {key: members[0][key] for key in same} | {"seeds": len(members)}
    line["diverged"] = sum(member["diverged"] for member in members)
    line["epoch"] = statistics.mean(member["epoch"] for member in members)
    names = {key: None for member in members for key in member if key not in (*line, "seed", "config")}
    for name in names:
        values = [m[name] for m in members if isinstance(m.get(name), int | float) and not isinstance(m[name], bool)]
        if values:
            sd = statistics.stdev(values) if len(values) > 1 else None
            of = {"mean": statistics.fmean(values), "sd": sd, "median": statistics.median(values)}
            line[name] = of | {"min": min(values), "max": max(values)}
    return line


def markdown(lines: list[dict], metrics: tuple[str, ...] = SHOWN) -> str:
    """Lines of `table` as a Markdown table: mean ± standard deviation over the seeds.

    Where the deviation is more than half the mean (some runs died, others did not) the lowest to the highest instead.
    """
    columns = {"cpu_seconds": "CPU s"} | {metric: metric for metric in metrics if any(metric in line for line in lines)}
    rows = [["row", "epoch", "seeds", *columns.values()], ["---", *["---:"] * (2 + len(columns))]]
    for line in lines:
        name = (line["row"] + ", averaged" * line["averaged"]).replace("|", "\\|")
        seeds = f"{line['seeds']}" + f", {line['diverged']} diverged" * bool(line["diverged"])
        rows.append([name, f"{line['epoch']:.3g}", seeds, *(_cell(line.get(column)) for column in columns)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(of: dict | None) -> str:
    """A number of `_line` over its seeds, with three digits where they are worth it."""
    if of is None:
        return ""
    mean, sd = of["mean"], of["sd"]
    decimals = min(3, max(0, 2 - math.floor(math.log10(abs(mean))))) if mean else 0
    if sd is None:
        return f"{mean:.{decimals}f}"
    ends = (mean, " ± ", sd) if sd <= abs(mean) / 2 else (of["min"], " to ", of["max"])
    return "{:.{d}f}{}{:.{d}f}".format(*ends, d=decimals)


def plan(study: Study, folder: Path, workers: int | None, jobs: list[tuple[Row, int]], score: Score = measured) -> str:
    """How many of the runs are finished and how long the others will take, from what took how long in the folder.

    Where a row has no epochs there yet, ten steps of its kind of network are timed.
    """
    left = [job for job in jobs if not _finished(*job, folder)]
    said = f"{len(jobs)} runs, of which {len(jobs) - len(left)} are finished in {folder}."
    epoch_seconds, score_seconds, done, kinds, total = {}, [], {}, {}, 0.0
    for row, seed in study.jobs():
        with contextlib.suppress(RunError):
            run, scores = runs.load_run(row.place(folder, seed)), _kept(row.place(folder, seed)).get("scores", [])
            done[row, seed] = run.epochs, len(scores)
            epoch_seconds.setdefault(row, []).extend(epoch["seconds"] for epoch in run.history)
            score_seconds += [point["score_seconds"] for point in scores]
    for row, seed in left:
        kind = replace(row.config, **UNTIMED)
        if not (epoch_seconds.get(row) and score_seconds):
            if kind not in kinds:
                kinds[kind], *of_score = _timed(row.config, study.samples, None if score_seconds else score)
                score_seconds += of_score
            epoch_seconds[row] = [kinds[kind]]
        epochs, scores = done.get((row, seed), (0, 0))
        total += (row.config.epochs - epochs) * statistics.fmean(epoch_seconds[row])
        total += (len(row.measure) * (2 if row.config.ema else 1) - scores) * statistics.fmean(score_seconds)
    if left:
        said += f" The others take about {_hours(total)} of one processor like those here"
        said += f", {_hours(total / workers)} of {workers}." if workers else "."
    return said


def _timed(config: TrainConfig, samples: int, score: Score | None) -> list[float]:
    """Seconds of an epoch with that config, from ten steps after a first ten; and those of a score, if there is one."""
    images = load_mnist().images[: config.images]
    few = min(10 * config.batch_size, len(images))
    short = replace(config, **UNTIMED | {"lr": 1e-6, "epochs": 2}, images=few)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        run = train(short, Path(folder) / "run", images=images, progress=False)
        scores = _scores(run, samples, score) if score else []
        return [run.history[-1]["seconds"] * len(images) / few, *(point["score_seconds"] for point in scores)]


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds > 5400 else f"{seconds / 60:.0f} minutes"


def ship(folder: str | Path, destination: str | Path) -> int:
    """Copy what notebooks need of a study; returns how many bytes that are.

    Of each finished run: config.json, quality.json, history.csv in six digits, the last sample grid; of rows with
    `ship_weights` also the generators of seed 0, in float16. Of others there is nothing in the destination afterwards.
    """
    folder, destination = Path(folder).expanduser(), Path(destination).expanduser()
    study = _read(folder)
    if destination.resolve() == folder.resolve():
        raise ValueError(f"{folder} is the study itself: name another folder to copy it to.")
    for row, seed in study.jobs():
        place, to = row.place(folder, seed), row.place(destination, seed)
        shutil.rmtree(to, ignore_errors=True)
        if not _finished(row, seed, folder):
            continue
        run = runs.load_run(place)
        (to / "samples").mkdir(parents=True)
        for name in ("config.json", "quality.json", f"samples/epoch_{run.epochs:04d}.png"):
            shutil.copyfile(place / name, to / name)
        short = [{k: v if k == "epoch" else float(f"{v:.6g}") for k, v in epoch.items()} for epoch in run.history]
        runs.write_history(to / "history.csv", short)
        for averaged in _variants(run) if row.ship_weights and seed == 0 else ():
            name = f"generator{'_average' * averaged}.safetensors"
            tensors, about = runs.read_tensors(place / name)
            half = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
            runs.write_tensors(to / name, half, about)
    runs.write_json(destination / "study.json", asdict(study))
    return sum(path.stat().st_size for path in destination.rglob("*") if path.is_file())


def main(arguments: list[str]) -> int:
    """`python -m labutils study`: returns the exit code, 1 if runs are left."""
    parser = argparse.ArgumentParser(
        prog="python -m labutils study",
        description="Train and score many runs, as many at a time as there are processors.",
    )
    parser.add_argument("file", nargs="?", help="a TOML file (default: the study that comes with labutils)")
    parser.add_argument("--folder", type=Path, help="where it is kept (default: runs/study)")
    parser.add_argument("--workers", type=int, help="runs at a time (default: one a processor)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster to run on, such as tcp://host:8786")
    parser.add_argument("--seeds", type=int, metavar="N", help="at most so many seeds a row")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="these rows only")
    parser.add_argument("--plan", action="store_true", help="only say how many runs are left and how long they take")
    parser.add_argument("--table", action="store_true", help="only print the table of what there is")
    parser.add_argument("--ship", metavar="FOLDER", help="only copy the small records there")
    known = parser.parse_args(arguments)
    if known.workers is not None and known.workers < 1:
        parser.error(f"--workers is {known.workers}; expected a whole number of at least 1.")
    folder = (known.folder or runs.runs_folder() / "study").expanduser().absolute()
    workers = None if known.scheduler else known.workers or processors()
    try:
        if known.ship:
            print(f"{ship(folder, known.ship) / 1e6:.1f} MB in {known.ship}")
            return 0
        if not known.table:
            study = load_study(known.file)
            jobs = study.jobs(known.rows, known.seeds)
            print(plan(study, folder, workers, jobs), flush=True)
            if known.plan:
                return 0
            run_study(study, folder, workers=workers, scheduler=known.scheduler, rows=known.rows, seeds=known.seeds)
        print(markdown(table(records(folder), at_cpu_seconds=math.inf)))
        return int(not known.table and not all(_finished(*job, folder) for job in jobs))
    except (ValueError, RunError) as error:
        parser.exit(2, f"{error}\n")
