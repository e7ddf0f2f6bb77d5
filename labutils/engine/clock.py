"""The one clock that predicts training time, and the one count of processors; standard library only."""

import contextlib
import io
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Cost(NamedTuple):
    """Seconds that a training takes: once a run, once a step, and once an epoch beside its steps (saving, samples)."""

    once: float
    step: float
    epoch: float


class MeasurementStopped(RuntimeError):
    """Ctrl-C ended a training that was being timed."""


class _Enough(Exception):
    """Ends a training that was only meant to be timed."""


def training_cost(train: Callable, config, parent: Path, seconds: float) -> Cost:
    """What a training costs here and now, measured on `train` itself.

    It calls `train(config, folder, on_epoch=..., progress=...)`, prints nothing, and leaves no trace.

    Args:
        train: `labutils.training.train`, or a partial of it.
        config: a TrainConfig whose `images` are few: a warm-up epoch and at least one more are trained with them.
        parent: a hidden folder is made in it, or in the nearest folder above that exists, and deleted afterwards.
        seconds: after so many, and an epoch beside the warm-up, the training is stopped.
    Raises:
        MeasurementStopped: Ctrl-C came before that.
    """
    steps = len(range(0, config.images - 1, config.batch_size))  # as `train` counts them
    parent = next(folder for folder in (parent, *parent.parents) if folder.is_dir())
    ends, durations = [time.perf_counter()], []

    def on_epoch(run) -> None:
        ends.append(time.perf_counter())
        durations.append(run.history[-1]["seconds"])
        if len(durations) > 1 and ends[-1] - ends[1] >= seconds:  # the first epoch warms up
            raise _Enough

    with (
        tempfile.TemporaryDirectory(prefix=".clock-", dir=parent, ignore_cleanup_errors=True) as folder,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.suppress(_Enough),
    ):
        train(replace(config, epochs=10_000), Path(folder) / "run", on_epoch=on_epoch, progress=False)
        raise MeasurementStopped("The measurement was stopped; start it again.")  # nothing else ends so many epochs
    epochs = len(durations) - 1
    step = sum(durations[1:]) / (epochs * steps)
    epoch = (ends[-1] - ends[1]) / epochs  # steps, saving and samples
    return Cost(max(ends[1] - ends[0] - epoch, 0), step, epoch - steps * step)
