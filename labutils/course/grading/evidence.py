"""What a run shows of itself: rebuilt, replayed, drawn and scored again. Nothing of the student's is executed.

Each check gives a finding: {"check", "state", and the numbers of its sentence}. States: "ok", "no" (it cannot be so),
"open" (cannot be told here).
"""

import base64
import contextlib
import functools
import io
import math
import shutil
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from labutils import quality
from labutils.config import TrainConfig
from labutils.course.grading.reader import HandIn, clean
from labutils.data import load_mnist
from labutils.engine.files import digest
from labutils.engine.machine import numerics
from labutils.models import count_parameters, sample
from labutils.runs import Run, RunError, load_run, read_json, read_tensors
from labutils.runs.checkpoint import grid
from labutils.training import Players, one_epoch

MOST_RUNS, MOST_COST = 16, 1e7  # of a hand-in; seconds, a third of a year, that are believed
REPLAYED, STEP_TOLERANCE = 8, 1e-3  # steps, and how far a loss may be: on the same kind of machine they are equal
SCORE_TOLERANCE = 0.02  # of a number, at equal N and noise
NUMBERS = ("frechet", "density", "coverage", "precision", "recall")
NEAR = 0.1  # of what noise changes in a picture: two generators that are so near are one function
SCORE_SEED = 10_000  # added to the run's seed where nothing is claimed, as the study does


def finding(check: str, state: str, **numbers) -> dict:
    """One finding, as it goes into a row."""
    return {"check": check, "state": state} | numbers


@contextlib.contextmanager
def unpacked(hand_in: HandIn, work: Path) -> Iterator[dict[str, Path]]:
    """The folders of a hand-in's runs by their names there, laid out under names of ours for as long as it takes."""
    shutil.rmtree(work, ignore_errors=True)
    names = sorted({name.split("/")[1] for name in hand_in.files if name.startswith("runs/")})[:MOST_RUNS]
    try:
        for name, content in hand_in.files.items():
            _, run, rest = name.split("/", 2)
            if run in names:
                path = work / f"run{names.index(run)}" / rest
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        yield {name: work / f"run{i}" for i, name in enumerate(names)}
    finally:
        shutil.rmtree(work, ignore_errors=True)


def examine(folder: Path, seed: int | None, claim: object, rescore: bool, main: bool = True) -> dict:
    """All that is found out about the run in a folder: "findings", and where it could be read what is said of it.

    `seed` is the student's own, None where nobody knows it; `claim` what scores.json says of the run; `rescore` whether
    its generator is scored again, some seconds; `main` whether the report rests on it: others have no generator.
    """
    try:
        run = load_run(folder)
        known = {field.name for field in fields(TrainConfig)}
        train = {key: value for key, value in run.config["train"].items() if key in known}
        config = TrainConfig(**train)
    except (RunError, ValueError, TypeError, OSError) as error:
        return {"findings": [finding("readable", "no", why=_said(error, folder))]}
    found = {"config": train, "machine": _machine(run), "epochs": run.epochs, "findings": [finding("readable", "ok")]}
    add = found["findings"].append
    spent = sum(row.get("cpu_seconds", row.get("seconds", 0)) for row in run.history)
    found["cost"] = float(min(max(0, spent), MOST_COST))  # of infinite ones no table can be made
    found["losses"] = [[round(float(row.get(key, 0)), 4) for key in ("d_loss", "g_loss")] for row in run.history]
    found |= {"strip": _strip(run)}
    checks = (rows, begins, steps, losses_fit) + (ends,) * (main or (folder / _weights(config)).exists())
    state = "open" if seed is None else "ok" if config.seed == seed else "no"
    add(finding("seed", state, seed=config.seed, expected=seed))
    for check in checks:
        try:
            add(check(run, config))
        except Exception as error:  # a file of the run that is missing, damaged, or made to be so
            add(finding(check.__name__, "no", why=_said(error, folder)))
    try:
        found |= _drawn(run, config, claim, rescore, main, add)
    except Exception as error:
        add(finding("generator", "no", why=_said(error, folder)))
    return found


def verified(found: dict) -> bool:
    """Whether nothing speaks against a run, its grids could be compared, and it is finished."""
    states = {each["check"]: each["state"] for each in found["findings"]}
    whole = all(states.get(check, "ok") == "ok" for check in ("readable", "rows", "begins", "ends"))
    return whole and "no" not in states.values()


def kind(found: dict) -> str:
    """As what a run counts: its model, unless the hand-in calls it something else."""
    model = found.get("config", {}).get("model", "")
    return model if found.get("as") in (model, "", None) else ""


def _said(error: BaseException, folder: Path) -> str:
    return clean(f"{error}".replace(f"{folder}/", "").replace(str(folder), "the run"), 400) or type(error).__name__


def _machine(run: Run) -> dict:
    """How a run computed, as it can be done again here: on one thread of the CPU, in float32."""
    asked = run.config["machine"]
    ways = {name: bool(asked[name]) for name in ("fused_adam", "joint_batch", "onednn_products") if name in asked}
    was = f"{asked['device']}, {asked['precision']}"
    return ways | {"device": "cpu", "precision": "float32", "threads": 1, "was": was}


def rows(run: Run, config: TrainConfig) -> dict:
    """As many rows in the history as epochs were trained, and the networks are of the last one."""
    grids = run.sample_epochs()
    at = read_tensors(path)[1].get("epoch") if (path := run.folder / _weights(config)).exists() else None
    numbers = {"rows": run.epochs, "epochs": config.epochs, "at": clean(at, 12), "grid": grids[-1] if grids else -1}
    if (type(at) is int and at != run.epochs) or (grids and grids[-1] > run.epochs) or run.epochs > config.epochs:
        return finding("rows", "no", **numbers)
    return finding("rows", "ok" if run.epochs == config.epochs else "open", **numbers)


def _fixed_noise(config: TrainConfig) -> Tensor:
    torch.manual_seed(config.seed)
    return torch.randn(64, config.z_dim)


def begins(run: Run, config: TrainConfig) -> dict:
    """The grid before training, rebuilt from seed and config: equal to the byte, or but for rounding."""
    with numerics(_machine(run)):
        noise = _fixed_noise(config)
        players = Players.of(config, _machine(run))
        shown = players.generator if players.average is None else players.average
        return _compared("begins", grid(shown, noise), run, 0)


def ends(run: Run, config: TrainConfig) -> dict:
    """The last grid is what the generator draws of the run's fixed noise."""
    with numerics(_machine(run)):
        return _compared("ends", grid(run.generator(), _fixed_noise(config)), run, run.epochs)


def _compared(check: str, drawn: Tensor, run: Run, epoch: int) -> dict:
    far = np.abs(drawn.numpy().astype(int) - np.asarray(run.grid(epoch)).astype(int))
    share = float((far > 3).mean())  # of 256 shades: float16 weights and other processors move a pixel by one or two
    return finding(check, "ok" if share < 1e-3 else "no", pixels=int((far > 0).sum()), far=int(far.max()), share=share)


def steps(run: Run, config: TrainConfig) -> dict:
    """The losses of the first steps, computed again."""
    try:
        kept = read_json(run.folder / "first_steps.json")
    except RunError as error:
        missing = not (run.folder / "first_steps.json").exists()
        return finding("steps", "open" if missing else "no", why="missing" if missing else _said(error, run.folder))
    kept = kept.get("first_steps", kept.get("steps"))
    claimed = [[float(value) for value in pair] for pair in kept][:REPLAYED]
    if run.config["machine"]["device"] != "cpu" or run.config["machine"]["precision"] != "float32":
        return finding("steps", "open", why="machine", machine=_machine(run)["was"])
    if (images := _seen(run, config)) is None:
        return finding("steps", "open", why="data")
    if config.batch_size > 1024 or config.d_steps > 16 or not claimed:
        return finding("steps", "open", why="size")
    again = replay(run, config, images, len(claimed))
    losses = [both for pairs in zip(claimed, again, strict=False) for both in zip(*pairs, strict=True)]
    far = max(abs(a - b) / max(1, abs(a)) for a, b in losses)
    good = len(again) == len(claimed) and far <= STEP_TOLERANCE  # NaN is not
    return finding("steps", "ok" if good else "no", steps=len(claimed), far=far)


def _seen(run: Run, config: TrainConfig) -> Tensor | None:
    """The images that a run was trained on, if they are the data in use here."""
    images = load_mnist().images[: config.images]
    return images if run.config["data"]["sha256"] == sha256(len(images)) else None


class _Enough(Exception):
    """So many steps are what was asked for."""


def replay(run: Run, config: TrainConfig, images: Tensor, count: int) -> list[list[float]]:
    """(d_loss, g_loss) of the first steps of a training."""
    seen = []

    def tick(means) -> None:
        seen.append([float(value) for value in means.last[:2]])
        if len(seen) == count:
            raise _Enough

    with numerics(_machine(run)), contextlib.suppress(_Enough):
        _fixed_noise(config)  # takes its random numbers first
        players = Players.of(config, _machine(run))
        for epoch in range(1, min(config.epochs, count) + 1):
            one_epoch(config, players, images, epoch, tick)
    return seen


@functools.cache
def sha256(count: int) -> str:
    """What a run's config says of the first images of the training set here."""
    return digest({"images": load_mnist().images[:count]})


def losses_fit(run: Run, config: TrainConfig) -> dict:
    """D's loss is at least what its mean outputs allow: the mean of -log is not below -log of the mean (Jensen)."""
    if config.loss != "nonsaturating" or config.r1 or config.gradient_penalty:
        return finding("losses_fit", "open")
    for row in run.history:
        least = sum(-math.log(min(1, max(mean, 1e-12))) for mean in (row["d_real"], 1 - row["d_fake"]))
        if not row["d_loss"] >= 0.99 * least - 1e-3:
            return finding("losses_fit", "no", epoch=row["epoch"], loss=row["d_loss"], least=least)
    return finding("losses_fit", "ok")


def _drawn(run: Run, config: TrainConfig, claim: object, rescore: bool, main: bool, add) -> dict:
    """What the generator does: its answer to noise that is the same for all, and its score."""
    if not main and not (run.folder / _weights(config)).exists():
        return {}  # of runs that are only compared, a hand-in holds no generator
    generator = run.generator()
    with numerics(_machine(run)):
        if not (about := probe(generator)):
            add(finding("generator", "no", why="it draws NaN"))
            return {}
        for player, network in zip(("generator", "discriminator"), config.networks(), strict=True):
            about[f"{player}_parameters"] = count_parameters(network)
    if not rescore:
        return about
    claim = claim if isinstance(claim, dict) else {}
    count, seed = claim.get("samples", 10_000), claim.get("seed", SCORE_SEED + config.seed)
    averaged = claim.get("averaged", bool(config.ema))
    if not (type(count) is int and 2_000 <= count <= 10_000 and type(seed) is int and 0 <= seed < 2**63):
        count, seed, claim = 10_000, SCORE_SEED + config.seed, {}
        add(finding("score", "open", why="samples"))
    with numerics(_machine(run)):
        found = quality.score(quality.sample_many(run.generator(averaged=bool(averaged)), count, seed))
    about |= {"quality": found.to_dict() | {"averaged": bool(averaged)}}
    pairs = {key: (claim[key], getattr(found, key)) for key in NUMBERS if isinstance(claim.get(key), int | float)}
    far = [(key, *pair) for key, pair in pairs.items() if not _near(*pair)]
    if far:
        key, said, seen = far[0]
        other = {"state": "open", "why": "data"} if _seen(run, config) is None else {"state": "no"}
        add({"check": "score", "number": key, "said": said, "seen": seen, "samples": count} | other)
    elif pairs:
        said = pairs.get("frechet", (0,))[0]
        add(finding("score", "ok", number="frechet", said=said, seen=found.frechet, samples=count))
    return about


def probe(generator) -> dict:
    """What a generator answers to noise that is the same for all, where digits are; {} if these are no numbers."""
    noise = torch.randn(64, generator.z_dim, generator=torch.Generator().manual_seed(16))
    images = sample(generator, noise)[:, 0, 3:27:3, 3:27:3].reshape(64, 64)
    if not images.isfinite().all():
        return {}
    return {"probe": images.tolist(), "collapsed": float(images.std(0).mean()) < 0.02}


def _weights(config: TrainConfig) -> str:
    return "generator_average.safetensors" if config.ema else "generator.safetensors"


def _near(said: float, seen: float) -> bool:
    return abs(said - seen) <= SCORE_TOLERANCE * max(abs(seen), 0.05)  # false for NaN


def _strip(run: Run, most: int = 6) -> str:
    """Some grids along the training beside each other, as the content of a data address; "" if none can be read."""
    epochs, images = run.sample_epochs(), []
    for epoch in sorted({epochs[round(i * (len(epochs) - 1) / (most - 1))] for i in range(most)} if epochs else ()):
        with contextlib.suppress(RunError):
            images.append(run.grid(epoch).resize((121, 121)))
    if not images:
        return ""
    strip = Image.new("L", (125 * len(images) - 4, 121), 128)
    for i, image in enumerate(images):
        strip.paste(image, (125 * i, 0))
    kept = io.BytesIO()
    strip.save(kept, "JPEG", quality=60)
    return base64.b64encode(kept.getvalue()).decode()


def twins(runs: list[dict]) -> list[tuple[int, int, float]]:
    """Pairs of runs whose generators are one function: (one, other, their distance over what noise changes).

    Weights with noise of 1e-4 are 0.005 away, hidden units in another order 1e-7, honest generators 1 and more;
    collapsed ones all look alike and are left out.
    """
    found, kinds = [], {}
    for i, run in enumerate(runs):
        if run.get("probe") and not run["collapsed"]:
            kinds.setdefault(run["config"].get("z_dim"), []).append(i)
    for group in kinds.values():
        drawn = torch.tensor([runs[i]["probe"] for i in group], dtype=torch.float64)  # (n, 64, 64)
        spread = drawn.std(1).mean(1)
        flat = drawn.flatten(1)
        far = torch.cdist(flat, flat) / math.sqrt(flat.shape[1]) / torch.minimum(spread[:, None], spread[None])
        found += [(group[i], group[j], float(far[i, j])) for i, j in (far < NEAR).triu(1).nonzero().tolist()]
    return found
