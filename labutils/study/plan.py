"""What of a study is left to do, and how long it will take on processors like this one."""

import contextlib
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from labutils.data import load_mnist
from labutils.engine.clock import MeasurementStopped, training_cost
from labutils.engine.machine import describe, numerics
from labutils.runs import RunError, load_run
from labutils.study.one_run import Score, finished, measured, read_scores, trained_here
from labutils.study.rows import Entry, Study
from labutils.training import TrainConfig, train

# Settings that change no step's time, and what stands for them.
UNTIMED = {"init": "default", "lr": 1e-6, "d_lr": None, "beta1": 0.5, "anneal": 0, "epochs": 1}


def plan(
    study: Study, folder: Path, workers: int | None, jobs: list[tuple[Entry, int]], score: Score = measured
) -> Iterator[str]:
    """How many of the runs are finished; then how long the others will take, from what took how long in the folder.

    Where an entry has no epochs there yet, some steps of its kind of network are timed, before the last line.
    """
    left = [job for job in jobs if not finished(*job, folder)]
    yield f"{len(jobs)} runs, of which {len(jobs) - len(left)} are finished in {folder}."
    if not left:
        return
    epoch_seconds, score_seconds, done, kinds, total, slow = {}, [], {}, {}, 0.0, 0
    for entry, seed in study.jobs():
        with contextlib.suppress(RunError, KeyError):
            run, scores = load_run(entry.place(folder, seed)), read_scores(entry.place(folder, seed)).get("scores", [])
            done[entry, seed] = run.epochs, len(scores)
            epoch_seconds.setdefault(entry, []).extend(epoch["seconds"] for epoch in run.history)
            score_seconds += [point["score_seconds"] for point in scores]
    for entry, seed in left:
        config = trained_here(entry.config, folder / ".none")
        slow += config.precision != entry.config.precision
        kind = replace(config, **UNTIMED)
        if not epoch_seconds.get(entry):
            kinds[kind] = kinds.get(kind) or _epoch_seconds(kind, folder)
            epoch_seconds[entry] = [kinds[kind]]
        score_seconds = score_seconds or [_score_seconds(kind, study.samples, score)]
        epochs, scores = done.get((entry, seed), (0, 0))
        total += (entry.config.epochs - epochs) * statistics.median(epoch_seconds[entry])
        total += (len(entry.measure) * (2 if entry.config.ema else 1) - scores) * statistics.median(score_seconds)
    if slow:
        yield f"There is no bfloat16 arithmetic here: {slow} runs that ask for it are trained in float32."
    of_several = f", {_hours(total / workers)} of {workers}" if workers else ""
    one = "run at a time on this GPU" if config.device == "cuda" else "processor like those here"
    yield f"The others take about {_hours(total)} of one {one}{of_several}."


def _epoch_seconds(config: TrainConfig, folder: Path) -> float:
    """Seconds of an epoch with that config, from ten steps after a first ten; on a GPU, slow at first, from more."""
    images = load_mnist().images[: config.images]
    steps = 10 if config.device == "cpu" else 4 * max(10, config.d_steps * config.penalty_every)
    few = replace(config, images=min(steps * config.batch_size, len(images)))
    try:
        cost = training_cost(partial(train, images=images), few, folder, seconds=0)
    except MeasurementStopped:
        raise KeyboardInterrupt from None
    return cost.step * len(range(0, len(images) - 1, config.batch_size)) + cost.epoch


def _score_seconds(config: TrainConfig, samples: int, score: Score) -> float:
    """Seconds of a score, which takes as long for a generator that was never trained."""
    with numerics(describe(config.device, config.precision, config.threads)):
        generator, _ = config.networks()
        start = time.perf_counter()
        score(generator.eval(), samples, 0)
        return time.perf_counter() - start


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds > 5400 else f"{seconds / 60:.0f} minutes"
