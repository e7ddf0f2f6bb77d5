"""One run of a study: trained from one measured epoch to the next, and scored there; what is kept in quality.json."""

import math
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import torch
from torch import nn

from labutils import quality
from labutils.data import load_mnist
from labutils.engine.machine import choose_device, choose_precision, numerics
from labutils.models import count_parameters
from labutils.runs import Run, RunError, TrainingDiverged, load_run, one_writer, read_json, write_json
from labutils.study.rows import Entry
from labutils.training import TrainConfig, train

SCORE_SEED = 10_000  # added to a run's seed for the noise of its scores, which is then none of the training's
SECONDS = ("cpu_seconds", "seconds", "score_seconds")
OTHERS = {"shares", "placement", "errors"}  # of a quality: a list, a text, numbers by name
NUMBERS = {"epoch", *SECONDS, *(field.name for field in fields(quality.Quality) if field.name not in OTHERS)}
AGAIN = "delete it, and the next call scores the last epoch anew."
Score = Callable[[nn.Module, int, int], dict]  # (generator, how many images, seed of the noise) -> numbers to keep


def measured(generator: nn.Module, samples: int, seed: int) -> dict:
    """The numbers of `labutils.quality.score` for that many images of a generator."""
    return quality.score(quality.sample_many(generator, samples, seed=seed)).to_dict()


def run_one(entry: Entry, seed: int, folder: Path, samples: int, score: Score = measured, on_epoch=None) -> None:
    """Train one run of a study from one measured epoch to the next, and score it there; goes on where it stopped.

    A score is on disk before the next epoch begins: whenever the process is killed, no epoch goes without its score.
    """
    place = entry.place(folder, seed)
    images = load_mnist().images
    with one_writer(place, place.with_name(f".{place.name}.lock"), timeout=60):  # a lost process holds it so long
        config = replace(trained_here(entry.config, place), seed=seed)
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


def trained_here(config: TrainConfig, place: Path) -> TrainConfig:
    """The config that a run is trained with on this machine: on CUDA for the CPU, where there is one; float32 for
    bfloat16 where the hardware has none.

    There bfloat16 takes 12 to 19 times as long. What has begun goes on in its own precision: RunError if it cannot.
    """
    begun, here = _begun(place), choose_device().type
    config = as_begun(config, begun or {"device": here})
    if config.precision != "bfloat16":
        return config
    precision, hardware = choose_precision("auto", torch.device("cpu" if config.device == "cpu" else here))
    if begun.get("precision") == "bfloat16" and precision != "bfloat16":
        raise RunError(
            f"{place} was begun in bfloat16, and {hardware}: to go on takes 12 times as long, or longer. Go on where "
            "it was begun, or delete it, and it begins anew in float32."
        )
    return replace(config, precision=precision)


def as_begun(config: TrainConfig, begun: dict) -> TrainConfig:
    """The config as a run of it was begun: on CUDA where the CPU was asked for, in float32 where bfloat16 was."""
    device = "cuda" if (config.device, begun.get("device")) == ("cpu", "cuda") else config.device
    plain = begun.get("precision") == "float32" and config.precision == "bfloat16"
    return replace(config, device=device, precision="float32" if plain else config.precision)


def _begun(place: Path) -> dict:
    """The config with which the run there was begun, {} if there is none that says so."""
    try:
        train = read_json(place / "config.json")["train"]
        return train if isinstance(train, dict) else {}
    except (RunError, KeyError, TypeError):
        return {}


def _scores(run: Run, samples: int, score: Score) -> list[dict]:
    """What is kept of a run after its last epoch: a dictionary for each of its generators, averaged first."""
    points = []
    with numerics(run.config["machine"]):
        for averaged in generators_of(run):
            start = time.perf_counter()
            found = score(run.generator(averaged=averaged), samples, SCORE_SEED + run.config["train"]["seed"])
            found = {key: value for key, value in found.items() if _good(key, value)}  # what is infinite is no score
            took = {"score_seconds": time.perf_counter() - start}
            points.append({"epoch": run.epochs, "averaged": averaged} | spent(run) | took | found)
    return points


def generators_of(run: Run) -> list[bool]:
    """Which generators a run has: averaged over the training or not."""
    return [True, False] if run.config["train"].get("ema") else [False]


def shipped_of(entry: Entry, run: Run) -> list[bool]:
    """Which of these are shipped: of seed 0 all, of another one the average, if there is one."""
    seed = run.config["train"]["seed"]
    return generators_of(run)[: 1 if seed else 2] if entry.ships(seed) else []


def spent(run: Run) -> dict[str, float]:
    """Seconds of training up to the run's last epoch; scoring is not in them."""
    try:
        return {key: sum(epoch[key] for epoch in run.history) for key in ("cpu_seconds", "seconds")}
    except KeyError as error:
        raise RunError(f"{run.folder / 'history.csv'} has no column {error}: it is not from a training.") from None


def read_scores(place: Path) -> dict:
    """The quality.json of a run, {} if there is none yet; RunError if it is damaged or holds something else."""
    path = place / "quality.json"
    try:
        kept = read_json(path) if path.exists() else {}
    except RunError:
        raise RunError(f"{path} is damaged: {AGAIN}") from None
    if kept and (odd := _odd(kept)):
        raise RunError(f"{path} holds no scores of a run ({odd} is not what it should be): {AGAIN}")
    return kept


def _odd(kept: dict) -> str:
    """The name of what in a quality.json is not as `run_one` writes it, or ""."""
    points, diverged = kept.get("scores"), kept.get("diverged", 0)
    if not isinstance(points, list) or not all(isinstance(point, dict) for point in points):
        return "scores"
    for point in points:
        missing = [key for key in ("epoch", "averaged", *SECONDS) if key not in point]
        if wrong := missing + [key for key, value in point.items() if not _good(key, value)]:
            return wrong[0]
    counts = {key: kept.get(key) for key in ("generator_parameters", "discriminator_parameters")}
    wrong = [key for key, count in counts.items() if type(count) is not int or not 0 < count < 1e12]
    return ", ".join(wrong) or ("" if diverged is None or isinstance(diverged, str) else "diverged")


def _good(key: str, value: object) -> bool:
    """Whether a value of a score can be its own: of a name that every score has, and no number that is none."""
    if key == "averaged":
        return isinstance(value, bool)
    if isinstance(value, dict) and key not in NUMBERS:
        return all(_good("", each) for each in value.values())
    if isinstance(value, list | str | bool | None) and key not in NUMBERS:
        return not isinstance(value, list) or all(_good("", each) for each in value)
    finite = type(value) in (int, float) and abs(value) < 1e100 and not math.isnan(value)
    return finite and (value >= 0 or key not in SECONDS) and (key != "epoch" or value in range(1, 10**9))


def finished(entry: Entry, seed: int, folder: Path) -> bool:
    """Whether a run is all that the study wants of it; a damaged one, or that of another config, is not."""
    try:
        run = load_run(entry.place(folder, seed))
        run.grid(run.epochs)  # deleted, it is written again; so are the generators that are shipped
        for averaged in shipped_of(entry, run):
            run.generator(averaged=averaged)
        return scored(entry, seed, folder)
    except RunError:
        return False


def scored(entry: Entry, seed: int, folder: Path) -> bool:
    """Whether a run has its last score, or diverged; `finished` asks for its last grid too."""
    place = entry.place(folder, seed)
    try:
        kept, there = read_scores(place), TrainConfig(**read_json(place / "config.json")["train"])
    except (RunError, ValueError, TypeError, KeyError):
        return False
    wanted = replace(as_begun(entry.config, vars(there)), seed=seed)
    epochs = [point["epoch"] for point in kept.get("scores", [])]
    same = replace(there, epochs=wanted.epochs) == wanted
    return same and bool(kept.get("diverged") or wanted.epochs in epochs)
