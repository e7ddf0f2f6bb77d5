"""One run of a study: trained from one measured epoch to the next, and scored there; what is kept in quality.json."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import nn

from labutils import quality
from labutils.data import load_mnist
from labutils.engine.machine import numerics
from labutils.models import count_parameters
from labutils.runs import Run, RunError, load_run, one_writer, read_json, write_json
from labutils.study.rows import Entry
from labutils.training import TrainConfig, TrainingDiverged, train

SCORE_SEED = 10_000  # added to a run's seed for the noise of its scores, which is then none of the training's
Score = Callable[[nn.Module, int, int], dict]  # (generator, how many images, seed of the noise) -> numbers to keep


def measured(generator: nn.Module, samples: int, seed: int) -> dict:
    """The numbers of `labutils.quality.score` for that many images of a generator."""
    return quality.score(quality.sample_many(generator, samples, seed=seed)).to_dict()


def run_one(entry: Entry, seed: int, folder: Path, samples: int, score: Score = measured, on_epoch=None) -> None:
    """Train one run of a study from one measured epoch to the next, and score it there; goes on where it stopped.

    A score is on disk before the next epoch begins: whenever the process is killed, no epoch goes without its score.
    """
    place = entry.place(folder, seed)
    config, images = replace(entry.config, seed=seed), load_mnist().images
    with one_writer(place, place.with_name(f".{place.name}.lock"), timeout=60):  # a lost process holds it so long
        kept = read_scores(place) or {"row": entry.name, "seed": seed, "diverged": None, "scores": []}
        scored = {point["epoch"] for point in kept["scores"]}
        for epoch in [e for e in entry.measure if e not in scored] or [config.epochs]:  # `train` checks the config too
            try:
                until = replace(config, epochs=epoch)
                run = train(until, place, images=images, resume=True, on_epoch=on_epoch, progress=False)
            except TrainingDiverged as error:
                kept["diverged"] = str(error).replace(str(place), entry.slug)  # a result as good as a score
                run = load_run(place)
            if run.interrupted:
                return
            if run.epochs > config.epochs:
                raise RunError(f"{place} has {run.epochs} epochs and no score after {config.epochs}: delete it.")
            asked = run.epochs == epoch and epoch not in scored  # it may be past, if asked for later
            if asked and not kept["diverged"]:
                kept["scores"] += _scores(run, samples, score)
            networks = {"generator": run.generator(), "discriminator": run.discriminator()}
            kept |= {f"{name}_parameters": count_parameters(network) for name, network in networks.items()}
            write_json(place / "quality.json", kept)
            if kept["diverged"]:
                return


def _scores(run: Run, samples: int, score: Score) -> list[dict]:
    """What is kept of a run after its last epoch: a dictionary for each of its generators, averaged first."""
    points = []
    with numerics(run.config["machine"]):
        for averaged in generators_of(run):
            start = time.perf_counter()
            found = score(run.generator(averaged=averaged), samples, SCORE_SEED + run.config["train"]["seed"])
            took = {"score_seconds": time.perf_counter() - start}
            points.append({"epoch": run.epochs, "averaged": averaged} | spent(run) | took | found)
    return points


def generators_of(run: Run) -> list[bool]:
    """Which generators a run has: averaged over the training or not."""
    return [True, False] if run.config["train"].get("ema") else [False]


def spent(run: Run) -> dict[str, float]:
    """Seconds of training up to the run's last epoch; scoring is not in them."""
    return {key: sum(epoch[key] for epoch in run.history) for key in ("cpu_seconds", "seconds")}


def read_scores(place: Path) -> dict:
    """The quality.json of a run, {} if there is none yet."""
    path = place / "quality.json"
    try:
        return read_json(path) if path.exists() else {}
    except RunError:
        raise RunError(f"{path} is damaged: delete it, and the next call scores the last epoch anew.") from None


def finished(entry: Entry, seed: int, folder: Path) -> bool:
    """Whether a run has all that the study wants of it; a damaged one, or that of another config, has not."""
    place = entry.place(folder, seed)
    try:
        kept, there = read_scores(place), TrainConfig(**read_json(place / "config.json")["train"])
    except (RunError, ValueError, TypeError):
        return False
    same = replace(there, epochs=entry.config.epochs) == replace(entry.config, seed=seed)
    scored = [point["epoch"] for point in kept.get("scores", [])]
    return same and bool(kept.get("diverged") or entry.config.epochs in scored)
