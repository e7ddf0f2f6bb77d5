"""A study of tiny networks and few images, and scores that take no time or end badly.

The processes that a study starts import this module for their score, which gives them the same networks and images.
"""

import multiprocessing
import os
import time
from pathlib import Path
from types import SimpleNamespace

import tiny
from killing import KILL

from labutils import quality
from labutils.engine import files
from labutils.models import MODELS
from labutils.study import Entry, one_run, plan

FEW = SimpleNamespace(images=tiny.images())
SMALL = tiny.config(images=48)
ROWS = (
    Entry("Plain, averaged", tiny.config(images=48, ema=0.9), seeds=2, measure=(1,), group="a", ship_weights=True),
    Entry("Breaks", tiny.config(images=48, lr=1e29), seeds=1, measure=(1, 2)),
)


def install() -> None:
    """Have this process train tiny networks on few images."""
    MODELS["mlp"] = tiny.NETWORKS
    patch_images(setattr)


def patch_images(set_attribute) -> None:
    for module in (one_run, plan):
        set_attribute(module, "load_mnist", lambda: FEW)


if multiprocessing.current_process().name != "MainProcess":
    install()


def cheap(generator, samples, seed) -> dict:
    """Stands in for `labutils.quality.score`, which takes seconds."""
    images = quality.sample_many(generator, samples, seed).double()
    return {"frechet": float(images.mean()), "spread": float(images.std()), "shares": [0.5, 0.5]}


def fatal(marker: Path, generator, samples, seed) -> dict:
    """Kills its process the first time that any process calls it, and each time for a row whose noise has 5 numbers."""
    if generator.z_dim == 5 or not marker.exists():
        if generator.z_dim != 5:
            marker.touch()
        os.kill(os.getpid(), KILL)
    return cheap(generator, samples, seed)


def endless(marker: Path, generator, samples, seed) -> dict:
    """Says which process it is in, and never ends."""
    files.write_whole(marker, str(os.getpid()).encode())
    time.sleep(600)


def timeless(found: list[dict]) -> list[dict]:
    """Records without what no two runs share."""
    return [{key: value for key, value in record.items() if "seconds" not in key} for record in found]


def here(jobs, workers, task, tell) -> None:
    """An engine in this process, one run after the other."""
    for job in jobs:
        one_run.run_one(*job, *task)
        tell(job)
