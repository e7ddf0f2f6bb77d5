"""The training loop of the lab: two update functions, `one_epoch`, which is Algorithm 1, and `train`, which saves.

Algorithm 1 of Goodfellow et al. 2014 with one D step a G step, in the order of the original report: D on real and on
detached fakes, the two losses summed; then G on the same fakes. What else TrainConfig offers is off unless asked for.
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from labutils.config import TrainConfig
from labutils.data import check_images, load_mnist
from labutils.engine import capture
from labutils.engine.layers import placed
from labutils.engine.machine import autocast, callers_code, numerics, ways
from labutils.engine.means import Means, NotFinite, measures
from labutils.engine.paths import expanded
from labutils.engine.settings import checked_step
from labutils.losses import LOSSES, discriminator_loss, generator_loss, gradient_penalty, r1_penalty
from labutils.runs import Checkpoint, Run, diverged, one_writer, open_run, runs_folder


def update_discriminator(
    discriminator: nn.Module,
    optimizer: torch.optim.Optimizer,
    real: Tensor,
    fake: Tensor,
    loss_function: Callable[[Tensor, Tensor], Tensor] = discriminator_loss,
    penalty: Callable[[Callable, Tensor, Tensor], Tensor] | None = None,
    joint: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of D on real and fake images (N, 1, 28, 28); returns (loss, real logits, fake logits), detached.

    `penalty(discriminator.logits, real, fake)`, where there is one, is added to the loss. With `joint` D sees both in
    one batch, which is faster and, unless D has batch norm, the same.
    """
    fake = fake.detach()  # no gradient goes back into G
    if joint:
        real_logits, fake_logits = discriminator.logits(torch.cat([real, fake])).chunk(2)
    else:
        real_logits, fake_logits = discriminator.logits(real), discriminator.logits(fake)
    loss = loss_function(real_logits, fake_logits)
    if penalty:
        loss = loss + penalty(discriminator.logits, real, fake)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach(), real_logits.detach(), fake_logits.detach()


def update_generator(
    discriminator: nn.Module,
    optimizer: torch.optim.Optimizer,
    fake: Tensor,
    loss_function: Callable[[Tensor], Tensor] = generator_loss,
) -> Tensor:
    """One step of G on the fakes (N, 1, 28, 28) that it made; returns the loss, detached."""
    discriminator.requires_grad_(False)  # D only passes the gradient on; not computing its own saves time
    loss = loss_function(discriminator.logits(fake))
    discriminator.requires_grad_(True)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


STEPS, PLAIN = (update_discriminator, update_generator), ("nonsaturating", 0, 0, 1)


@torch.no_grad()
def clip_weights(network: nn.Module, limit: float) -> None:
    """Bring each weight into [-limit, limit] (WGAN, Arjovsky et al. 2017, algorithm 1)."""
    for parameter in network.parameters():
        parameter.clamp_(-limit, limit)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """average <- decay * average + (1 - decay) * network: of the weights, and of batch norm's running statistics."""
    for mean, value in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        mean.copy_(torch.lerp(mean, value, 1 - decay) if mean.is_floating_point() else value)  # a counter is copied


@dataclass
class Players:
    """The two networks of the game on their device, an average of G if there is one, and an optimiser each."""

    generator: nn.Module
    discriminator: nn.Module
    average: nn.Module | None
    g_optimizer: torch.optim.Optimizer
    d_optimizer: torch.optim.Optimizer
    autocast: Callable  # a context manager: bfloat16 inside, where the run has it
    steps: tuple[Callable, Callable]  # of D and of G: what they are called with stands in `one_step`
    g_loss: Tensor  # (), of G's last step
    captured: Callable | None = None  # `one_step` as a CUDA graph, where a run has it

    @classmethod
    def of(cls, config: TrainConfig, machine: dict, steps: tuple[Callable, Callable] = STEPS) -> "Players":
        """New ones, with the next random numbers; of `steps`, those of this module get the config's losses."""
        if steps != STEPS and (config.loss, config.r1, config.gradient_penalty, config.penalty_every) != PLAIN:
            raise ValueError("Your steps hold their losses: leave loss, r1 and gradient_penalty of the config alone.")
        penalty = partial(penalties, config) if config.r1 or config.gradient_penalty else None
        generator, discriminator = (placed(network, machine["device"]) for network in config.networks())
        normed = any("BatchNorm" in type(layer).__name__ for layer in discriminator.modules())
        joint = ways(machine)["joint_batch"] and not normed
        of_d, of_g = LOSSES[config.loss]
        ours = partial(update_discriminator, loss_function=of_d, penalty=penalty, joint=joint)
        ours = {update_discriminator: ours, update_generator: partial(update_generator, loss_function=of_g)}
        return cls(
            generator,
            discriminator,
            copy.deepcopy(generator).requires_grad_(False) if config.ema else None,
            _adam(generator, config.lr, config, machine),
            _adam(discriminator, config.d_lr or config.lr, config, machine),
            partial(autocast, machine),
            tuple(ours.get(step) or checked_step(step, player) for step, player in zip(steps, "DG", strict=True)),
            torch.zeros((), device=machine["device"]),
        )

    def networks(self) -> dict[str, nn.Module]:
        """By the names under which a run keeps them."""
        averaged = {} if self.average is None else {"generator_average": self.average}
        return {"generator": self.generator, "discriminator": self.discriminator} | averaged

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """By the names under which a run keeps their state."""
        return {"g_optimizer": self.g_optimizer, "d_optimizer": self.d_optimizer}


def penalties(config: TrainConfig, logits: Callable, real: Tensor, fake: Tensor) -> Tensor:
    """What of the config's penalties is added to D's loss; those steps that go without are made up for."""
    of_real = config.r1 * r1_penalty(logits, real) if config.r1 else 0
    between = config.gradient_penalty and config.gradient_penalty * gradient_penalty(logits, real, fake)
    return config.penalty_every * (of_real + between)


def steps_an_epoch(config: TrainConfig, images: Tensor) -> int:
    """How many batches an epoch has; a last batch of one is left out: batch norm needs two."""
    return math.ceil((len(images) - 1) / config.batch_size)


def one_step(config, players: Players, images: Tensor, batch: Tensor, decay, rate, *, turn_of_g, penalised) -> Tensor:
    """D on the images numbered `batch` and on fakes, G in its turn; both learn at `rate` times theirs -> `measures`."""
    d_step, g_step = players.steps
    d_step = d_step if penalised else partial(d_step, penalty=None)
    if config.anneal:
        players.d_optimizer.param_groups[0]["lr"] = rate * (config.d_lr or config.lr)
        players.g_optimizer.param_groups[0]["lr"] = rate * config.lr
    real = images.index_select(0, batch)  # (N, 1, 28, 28)
    noise = torch.randn(len(real), config.z_dim, device=images.device)  # (N, z_dim)
    with players.autocast():  # keeps a bfloat16 copy of the weights: leave it as soon as they change
        fake = players.generator(noise)  # (N, 1, 28, 28)
        d_loss, real_logits, fake_logits = d_step(players.discriminator, players.d_optimizer, real, fake)
    if config.clip:
        clip_weights(players.discriminator, config.clip)
    if turn_of_g:
        with players.autocast():
            players.g_loss.copy_(g_step(players.discriminator, players.g_optimizer, fake).detach())
        if players.average is not None:
            update_average(players.average, players.generator, decay)
    return measures(d_loss, players.g_loss, real_logits, fake_logits)


def one_epoch(config: TrainConfig, players: Players, images: Tensor, epoch: int, tick: Callable[[Means], None]) -> dict:
    """Algorithm 1 once over images (N, 1, 28, 28), in a new order; returns the row of the history.

    `tick` is called after each step with the epoch's `Means`. NotFinite: a loss became NaN or infinite.
    """
    started, cpu_started, means = time.perf_counter(), time.process_time(), Means(images.device)
    play, steps = players.captured or partial(one_step, config, players, images), steps_an_epoch(config, images)
    players.g_loss.zero_()
    batches = torch.randperm(len(images)).to(images.device).split(config.batch_size)[:steps]
    for step, batch in enumerate(batches, 1 + (epoch - 1) * steps):
        g_steps = step // config.d_steps
        decay = min(config.ema, (1 + g_steps) / (10 + g_steps)) if config.ema_warmup else config.ema
        rate = (1 + math.cos(math.pi * min(1, (step - 1) / steps / config.anneal))) / 2 if config.anneal else 1.0
        turn_of_g, penalised = step % config.d_steps == 0, step % config.penalty_every == 0
        means.add(len(batch), play(batch, decay, rate, turn_of_g=turn_of_g, penalised=penalised))
        tick(means)
    means.read()
    return {"epoch": epoch} | means.row(time.perf_counter() - started, time.process_time() - cpu_started)


def train(
    config: TrainConfig,
    folder: str | Path | None = None,
    *,
    images: Tensor | None = None,
    resume: bool = False,
    on_epoch: Callable[[Run], None] | None = None,
    progress: bool = True,
    steps: tuple[Callable, Callable] = STEPS,
) -> Run:
    """Train a GAN and keep it on disk; Ctrl-C (Kernel -> Interrupt) ends it cleanly and keeps every finished epoch.

    Args:
        folder: where the run is kept; `runs/<config.name>` if not given.
        images: float32 (N, 1, 28, 28) in [-1, 1]; MNIST's training images if not given.
        resume: go on where the run in `folder` stopped, to the same bits as if it never had (same machine type,
            threads and precision, on the CPU); starts a new run where there is none.
        on_epoch: called with the run after each epoch.
        progress: show a progress bar with the losses and the time left.
        steps: the D step and the G step; yours take the first arguments of those above and return the same.
    Returns:
        The run. `run.history` has a dictionary an epoch: means of both losses (d_loss, g_loss) and those of the last
        batch (d_loss_last, g_loss_last), D's with penalties, G's of its last step (0 before the first, if d_steps > 1);
        D's mean output on real and fake (d_real, d_fake) and the share of each that it tells rightly
        (d_accuracy_real, d_accuracy_fake); seconds, cpu_seconds (of all threads), images_per_second.
    Raises:
        RunError: the folder cannot be written, is in use, holds another run, or one that `resume` was not asked for.
        TrainingDiverged: a loss became NaN or infinite; the last good epoch is kept.
    """
    folder = expanded(folder if folder is not None else runs_folder() / config.name)  # absolute: one may leave it
    images = _first(load_mnist().images if images is None else images, config.images)
    with one_writer(folder) as check_hold:
        run, state = open_run(folder, config, images, resume, steps)
        machine = run.config["machine"]
        with numerics(machine):
            torch.manual_seed(config.seed)  # before the networks are built
            fixed_noise = torch.randn(64, config.z_dim).to(machine["device"])
            players = Players.of(config, machine, steps)
            checkpoint = Checkpoint(run, players.networks(), players.optimizers(), fixed_noise, check_hold)
            checkpoint.restore_or_begin(state)
            images = images.to(machine["device"])
            if ways(machine)["captured"] and steps == STEPS and not capture.why_not():
                players.captured = capture.Captured(partial(one_step, config, players, images))
            _epochs(config, run, players, checkpoint, images, on_epoch, progress)
    return run


def _epochs(config, run: Run, players: Players, checkpoint: Checkpoint, images: Tensor, on_epoch, progress) -> None:
    """While there are epochs: append the row of one, save."""
    steps = steps_an_epoch(config, images)
    bar = tqdm(total=config.epochs * steps, initial=run.epochs * steps, unit="batch", disable=not progress)

    def tick(means: Means) -> None:
        run.note_step(run.epochs * steps + means.steps, means.last[:2])
        bar.set_postfix(D=f"{means.last[0]:.3f}", G=f"{means.last[1]:.3f}", refresh=False)
        bar.update()

    try:
        while run.epochs < config.epochs:
            run.history.append(one_epoch(config, players, images, run.epochs + 1, tick))
            checkpoint.save()
            if on_epoch:
                with callers_code(run.config["machine"]["device"]):
                    on_epoch(copy.deepcopy(run))
    except NotFinite as found:
        raise diverged(run, found.step, found.d_loss, found.g_loss) from None
    except KeyboardInterrupt:
        checkpoint.stop()
    finally:
        players.captured = None  # a cycle otherwise, and all that lies on the device waits for the garbage collector
        bar.close()


def _adam(network: nn.Module, lr: float, config: TrainConfig, machine: dict) -> torch.optim.Adam:
    """Adam as in the original report; fused, it differs in the last bit."""
    how = {"fused": ways(machine)["fused_adam"] or None, "capturable": ways(machine)["captured"]}
    return torch.optim.Adam(network.parameters(), lr, betas=(float(config.beta1), 0.999), **how)


def _first(images: Tensor, count: int | None) -> Tensor:
    """The first `count` images, after a look at all of them."""
    images = check_images(images, least=2)
    if (count or 0) > len(images):
        raise ValueError(f"config.images is {count}, but there are only {len(images)} images: None takes all.")
    return images[:count]
