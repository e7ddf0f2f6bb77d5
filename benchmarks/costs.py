"""What a step of each row of the study costs, relative to one of the original MLP: `python benchmarks/costs.py`.

Rows whose steps do the same work are one kind. The kinds are timed in turn, round after round, in CPU seconds of one
thread in float32; a kind's cost is the median over the rounds of its time over that of the original MLP in the same
round. Writes labutils/assets/study/costs.json; ten minutes on two cores.
"""

import argparse
import contextlib
import io
import json
import platform
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from labutils.data import load_mnist
from labutils.study import SHIPPED, load_study
from labutils.study.plan import UNTIMED
from labutils.training import TrainConfig, train

BATCHES = 20  # a multiple of every row's d_steps and penalty_every
BASE = "MLP, weights_init"


def kind(config: TrainConfig) -> TrainConfig:
    """A config without what changes no step's time."""
    few = {"images": BATCHES * config.batch_size, "precision": "float32", "threads": 1, "ema_warmup": False}
    return replace(config, **UNTIMED | few | {"ema": 0.995 if config.ema else 0, "epochs": 2})


def seconds(config: TrainConfig) -> float:
    """CPU seconds a batch, in the second of two short epochs."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        run = train(config, Path(folder) / "run", images=load_mnist().images, progress=False)
    return run.history[-1]["cpu_seconds"] / BATCHES


def processor() -> str:
    """The processor's name, where the system tells it."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text("utf8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=SHIPPED / "costs.json")
    parser.add_argument("--rows", nargs="+", help="only these, in turn with the original MLP; the others are kept")
    known = parser.parse_args()
    everything = {row.name: kind(row.config) for row in load_study().rows}
    rows = {name: everything[name] for name in [BASE, *(known.rows or everything)]}
    ratios, base = {config: [] for config in rows.values()}, []
    for i in range(1, known.rounds + 1):
        found = {config: seconds(config) for config in ratios}
        base.append(found[rows[BASE]])
        for config, took in found.items():
            ratios[config].append(took / base[-1])
        print(f"round {i} of {known.rounds}: a step of the original MLP took {1000 * base[-1]:.1f} ms", flush=True)
        table = {
            "about": "cost of a step (one batch) of each row, relative to a step of the row " + BASE,
            "command": "python benchmarks/costs.py",
            "machine": f"{processor()}, 1 thread, float32, {platform.system()}, torch {torch.__version__}",
            "rounds": i,
            "base_ms": round(1000 * statistics.median(base), 2),
            "step": {name: round(statistics.median(ratios[config]), 3) for name, config in rows.items()},
            "range": {name: [round(f(ratios[config]), 3) for f in (min, max)] for name, config in rows.items()},
        }
        if known.rows:
            table = _beside(json.loads(known.out.read_text("utf8")), table, everything)
        known.out.write_text(json.dumps(table, indent=1) + "\n", "utf8")


def _beside(old: dict, new: dict, everything: dict[str, TrainConfig]) -> dict:
    """The older table with the rows measured now, which it names; rows that the study no longer has go."""
    measured = [name for name in new["step"] if name != BASE]
    for key in ("step", "range"):
        both = old[key] | {name: new[key][name] for name in measured}
        old[key] = {name: both[name] for name in everything if name in both}
    later = old.get("later", {}) | dict.fromkeys(measured, f"{new['rounds']} rounds, {new['machine']}")
    old["later"] = {name: how for name, how in later.items() if name in everything}
    return old


if __name__ == "__main__":
    main()
