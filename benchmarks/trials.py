"""Short trainings of equal cost, by which a recipe is chosen: `python benchmarks/trials.py NAME key=value ...`.

A trial's cost is in epochs of the original MLP: how many steps that buys is measured first, in turn with the MLP's.
Networks, losses and batches may differ in ways that TrainConfig has no field for, so the loop is this file's own.
Trials use seed 101, which no table contains; each appends its scores to labutils/assets/study/trials.json.
"""

import argparse
import copy
import json
import math
import statistics
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labutils import quality
from labutils.data import load_mnist
from labutils.engine.files import write_whole
from labutils.engine.layers import Conv2d, ConvTranspose2d, Dropout, Linear, Unflatten
from labutils.losses import bce, r1_penalty
from labutils.models import build, weights_init
from labutils.study import SHIPPED
from labutils.training import update_average

STEPS_A_UNIT = 469  # batches in an epoch of the original MLP
ROUNDS = 14  # of the timing, the first two of which warm up


@dataclass
class Options:
    """What a trial may change; the defaults are the recipe's, annealed."""

    cost: float = 6.0  # in epochs of the original MLP
    generator: str = "dcgan"  # "dcgan", "hybrid" (an MLP's trunk of `hidden` units before `channels` of 7 x 7), "mlp"
    hidden: int = 1024
    channels: int = 32
    discriminator: str = "mlp"  # "mlp"; "conv32": two convolutions of 32 and 64 channels and a hidden layer
    loss: str = "nonsaturating"  # or "relativistic" (R3GAN, Huang et al. 2024)
    r1: float = 1.0
    r2: float = 0.0  # the same penalty on fakes
    penalty_every: int = 4
    lr: float = 1e-3
    beta1: float = 0.5
    beta2: float = 0.999
    batch_size: int = 128
    dropout: float = 0.3
    leak: float = 0.0  # slope of the MLP's D below 0
    ema: float = 0.998
    seed: int = 101


class TrialGenerator(nn.Module):
    """z (N, 100) -> images (N, 1, 28, 28)."""

    z_dim = 100

    def __init__(self, options: Options):
        super().__init__()
        if options.generator == "mlp":
            self.layers = build("mlp")[0].layers
            return
        hybrid = options.generator == "hybrid"
        first = options.channels if hybrid else 128
        second = max(32, first // 2)
        before = [Linear(100, options.hidden), *_normed(options.hidden)] if hybrid else []
        self.layers = nn.Sequential(
            *before,
            Linear(options.hidden if hybrid else 100, first * 49),
            *_normed(first * 49),
            Unflatten(1, (first, 7, 7)),
            ConvTranspose2d(first, second, kernel_size=4, stride=2, padding=1),
            nn.BatchNorm2d(second),
            nn.ReLU(inplace=True),
            ConvTranspose2d(second, 1, kernel_size=4, stride=2, padding=1),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


class TrialDiscriminator(nn.Module):
    """Images (N, 1, 28, 28) -> logits (N, 1)."""

    def __init__(self, options: Options):
        super().__init__()
        if options.discriminator == "conv32":
            leaky = [nn.LeakyReLU(0.2, inplace=True)]
            self.layers = nn.Sequential(
                *[Conv2d(1, 32, kernel_size=4, stride=2, padding=1), *leaky],
                *[Conv2d(32, 64, kernel_size=4, stride=2, padding=1), *leaky, nn.Flatten()],
                *[Linear(64 * 49, 256), nn.LeakyReLU(0.2), nn.Linear(256, 1)],
            )
            return
        hidden = []
        for width_in, width in ((784, 1024), (1024, 512), (512, 256)):
            hidden += [Linear(width_in, width), nn.LeakyReLU(options.leak) if options.leak else nn.ReLU()]
            hidden += [Dropout(options.dropout)] if options.dropout else []
        self.layers = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(256, 1))

    def logits(self, x: Tensor) -> Tensor:
        return self.layers(x)


def _normed(width: int) -> list[nn.Module]:
    return [nn.BatchNorm1d(width), nn.ReLU(inplace=True)]


class Game:
    """Both networks, their optimisers and the average of G; `plain`: the original MLP, for comparing times."""

    def __init__(self, options: Options, plain: bool = False):
        self.options, self.plain = options, plain
        if plain:
            self.g, self.d = build("mlp")
        else:
            self.g, self.d = TrialGenerator(options), TrialDiscriminator(options)
            self.g.apply(weights_init)
            self.d.apply(weights_init)
        self.average = copy.deepcopy(self.g).requires_grad_(False)
        betas = (options.beta1, options.beta2)
        self.g_optimizer = torch.optim.Adam(self.g.parameters(), options.lr, betas=betas, fused=True)
        self.d_optimizer = torch.optim.Adam(self.d.parameters(), options.lr, betas=betas, fused=True)

    def step(self, real: Tensor, number: int, rate: float = 1.0) -> None:
        """One step of D and one of G on real images (N, 1, 28, 28)."""
        options, relativistic = self.options, self.options.loss == "relativistic" and not self.plain
        for optimizer in (self.g_optimizer, self.d_optimizer):
            optimizer.param_groups[0]["lr"] = options.lr * rate
        fake = self.g(torch.randn(len(real), 100))
        of_real, of_fake = self.d.logits(torch.cat([real, fake.detach()])).chunk(2)
        loss = F.softplus(of_fake - of_real).mean() if relativistic else bce(of_real, 1) + bce(of_fake, 0)
        if number % options.penalty_every == 0 and not self.plain:
            for weight, images in ((options.r1, real), (options.r2, fake)):
                if weight:
                    loss = loss + weight * options.penalty_every * r1_penalty(self.d.logits, images)
        self.d_optimizer.zero_grad()
        loss.backward()
        self.d_optimizer.step()
        self.d.requires_grad_(False)
        of_fake = self.d.logits(fake)
        if relativistic:
            with torch.no_grad():
                of_real = self.d.logits(real)
        loss = F.softplus(of_real - of_fake).mean() if relativistic else bce(of_fake, 1)
        self.d.requires_grad_(True)
        self.g_optimizer.zero_grad()
        loss.backward()
        self.g_optimizer.step()
        if not self.plain:
            update_average(self.average, self.g, min(options.ema, (1 + number) / (10 + number)))


def relative_cost(options: Options, images: Tensor) -> float:
    """CPU seconds of a step beside one of the original MLP: the median over rounds in turn."""
    ratios, count = [], options.penalty_every
    with torch.random.fork_rng():
        plain, own = Game(options, plain=True), Game(options)
        for _ in range(ROUNDS):
            began = time.process_time()
            for _ in range(count):
                plain.step(images[:128], 1)
            between = time.process_time()
            for number in range(count):
                own.step(images[: options.batch_size], number)
            ratios.append((time.process_time() - between) / (between - began))
    return statistics.median(ratios[2:])


def trial(options: Options) -> list[dict]:
    """Train at the cost asked for and score G's average and G itself: a record of each."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(options.seed)
    images = load_mnist().images
    steps = round(options.cost * STEPS_A_UNIT / relative_cost(options, images))
    game, order, at = Game(options), torch.randperm(len(images)), 0
    for number in range(steps):
        if at + options.batch_size > len(images):
            order, at = torch.randperm(len(images)), 0
        batch, at = order[at : at + options.batch_size], at + options.batch_size
        game.step(images[batch], number, (1 + math.cos(math.pi * number / steps)) / 2)
    records = []
    for averaged, network in ((True, game.average), (False, game.g)):
        score = quality.score(quality.sample_many(network.eval(), 10_000, seed=10_101)).to_dict()
        kept = {name: round(score[name], 3) for name in ("frechet", "precision", "recall", "density", "coverage")}
        records.append({"averaged": averaged, "steps": steps} | kept)
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="what the trial is called in the records")
    parser.add_argument("changes", nargs="*", metavar="key=value", help="fields of Options")
    parser.add_argument("--out", type=Path, default=SHIPPED / "trials.json")
    known = parser.parse_args()
    kinds = {field.name: type(field.default) for field in fields(Options)}
    changes = dict(change.split("=", 1) for change in known.changes)
    if unknown := changes.keys() - kinds.keys():
        parser.error(f"There is no {', '.join(sorted(unknown))}; a trial may change {', '.join(kinds)}.")
    options = Options(**{key: kinds[key](value) for key, value in changes.items()})
    about = {"trial": known.name, "seed": options.seed, "cost": options.cost}
    settings = {key: value for key, value in asdict(options).items() if key not in about}
    records = [about | record | {"settings": settings} for record in trial(options)]
    kept = json.loads(known.out.read_text("utf8")) if known.out.exists() else []
    kept = [record for record in kept if record["trial"] != known.name] + records
    write_whole(known.out, (json.dumps(kept, indent=1, ensure_ascii=False) + "\n").encode())
    for record in records:
        print(record)


if __name__ == "__main__":
    main()
