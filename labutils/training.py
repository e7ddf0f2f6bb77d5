"""The training loop of the lab: two update functions, and `train`, which iterates, records and saves.

Algorithm 1 of Goodfellow et al. 2014 with one D step a G step, in the order of the report: D on real and on detached
fakes, the two losses summed; then G on the same fakes. What else TrainConfig offers is off unless asked for.
"""

import copy
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from labutils import runs
from labutils.data import load_mnist, unscale
from labutils.losses import LOSSES, discriminator_loss, generator_loss, gradient_penalty, r1_penalty
from labutils.machine import choose_device, describe, numerics, said
from labutils.models import BATCH_NORM, MODELS, build, sample
from labutils.runs import Run, RunError

# Sizes only, never another code path: what a TrainConfig gets from each preset.
PRESETS = {
    "smoke": {"mlp": {"epochs": 2, "images": 640}, "dcgan": {"epochs": 2, "images": 384}},
    "quick": {"mlp": {"epochs": 20}, "dcgan": {"epochs": 3}},
    "full": {"mlp": {"epochs": 100}, "dcgan": {"epochs": 100}},
}


def preset_name() -> str:
    """The preset in force, from the environment variable LABUTILS_PRESET: "smoke", "quick" (the default) or "full"."""
    name = os.environ.get("LABUTILS_PRESET") or "quick"
    if name not in PRESETS:
        raise ValueError(f"LABUTILS_PRESET is {name!r}, which is no preset; use one of {', '.join(PRESETS)}.")
    return name


def by_preset(smoke, quick, full):
    """One of three values, whichever belongs to the preset in force: `steps = by_preset(50, 2000, 5000)`."""
    return {"smoke": smoke, "quick": quick, "full": full}[preset_name()]


@dataclass(frozen=True)
class TrainConfig:
    """All that decides how a run comes out. The defaults are the report's settings; a bad value raises ValueError."""

    model: str = "mlp"  # "mlp": fully connected networks; "dcgan": convolutional ones
    epochs: int = 100  # the report's; passes over the images
    images: int | None = None  # how many of the images to train on, the first ones; None: all
    batch_size: int = 128  # small enough for many steps an epoch, large enough for a steady batch norm
    z_dim: int = 100  # width of the prior noise z ~ N(0, I)
    lr: float = 2e-4  # Adam's learning rate, both networks (Radford et al. 2016)
    beta1: float = 0.5  # Adam's momentum; 0.9 makes GANs oscillate (Radford et al. 2016)
    init: str = "weights_init"  # "weights_init": N(0, 0.02), the report's; "default": PyTorch's own
    loss: str = "nonsaturating"  # a name in labutils.losses.LOSSES
    discriminator: str | None = None  # "mlp" or "dcgan", if not that of `model`
    batch_norm: str = "both"  # where DCGAN has it: "both" networks, "generator" (a penalty wants D without) or "none"
    spectral_norm: bool = False  # each weight of D divided by its largest singular value (Miyato et al. 2018)
    d_lr: float | None = None  # D's own learning rate (two time scales, Heusel et al. 2017); None: lr
    d_steps: int = 1  # D steps a G step; 5 in WGAN (Arjovsky et al. 2017)
    clip: float = 0  # D's weights are kept in [-clip, clip]; 0.01 in WGAN; 0: off
    gradient_penalty: float = 0  # weight of WGAN-GP's penalty, 10 in Gulrajani et al. 2017; 0: off
    r1: float = 0  # weight gamma of the R1 penalty (Mescheder et al. 2018), 10 there; 0: off
    ema: float = 0  # decay of an average of G, made along the training (Yazici et al. 2019); 0: none is made
    seed: int = 0  # set before the networks are built
    device: str = "auto"  # "auto": cuda, else mps, else cpu
    precision: str = "auto"  # "float32"; "bfloat16"; "auto": bfloat16 where the hardware computes in it
    threads: int | None = None  # of the CPU; None: PyTorch's number, or one where that is faster at the start

    def __post_init__(self):
        choices = {
            "model": list(MODELS),
            "init": ["weights_init", "default"],
            "loss": list(LOSSES),
            "discriminator": [None, *MODELS],
            "batch_norm": list(BATCH_NORM),
            "spectral_norm": [False, True],
            "device": ["auto", "cpu", "cuda", "mps"],
            "precision": ["auto", "float32", "bfloat16"],
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; use one of {', '.join(map(repr, allowed))}.")
        least = {"epochs": 1, "images": 2, "batch_size": 2, "z_dim": 1, "d_steps": 1, "seed": 0, "threads": 1}
        most = {"z_dim": runs.MAX_Z_DIM, "seed": 2**63 - 1, "threads": 1024}
        for name, low in least.items():
            value, high = getattr(self, name), most.get(name, math.inf)
            optional = name in ("images", "threads")
            if not (value is None and optional) and (type(value) is not int or not low <= value <= high):
                upto = f"from {low} to {high}" if name in most else f"of at least {low}"
                raise ValueError(f"{name} is {value!r}; expected a whole number {upto}.")
        ranges = {  # name: (test, what is expected)
            "lr": (lambda v: 0 < v < 1e30, "a positive number such as 2e-4"),
            "d_lr": (lambda v: 0 < v < 1e30, "a positive number such as 5e-5, or None"),
            "beta1": (lambda v: 0 <= v < 1, "a number from 0 up to, not including, 1"),
            "ema": (lambda v: 0 <= v < 1, "a number from 0 up to, not including, 1, such as 0.999"),
            "clip": (lambda v: 0 <= v < 1e30, "0 (off) or a positive number such as 0.01"),
            "gradient_penalty": (lambda v: 0 <= v < 1e30, "0 (off) or a positive number such as 10"),
            "r1": (lambda v: 0 <= v < 1e30, "0 (off) or a positive number such as 10"),
        }
        for name, (test, expected) in ranges.items():
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number and test(value)) and not (name == "d_lr" and value is None):
                raise ValueError(f"{name} is {value!r}; expected {expected}.")

    @classmethod
    def preset(cls, model: str = "mlp", **changes) -> "TrainConfig":
        """The report's settings in the size of the preset in force; `changes` go on top."""
        sizes = PRESETS[preset_name()].get(model, {})
        return cls(**({"model": model} | sizes | changes))

    @property
    def name(self) -> str:
        """The run's folder name: the model and whatever differs from the defaults, but not the number of epochs."""
        settings = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return "-".join([self.model, *(f"{k}={v}" for k, v in settings.items() if k not in ("model", "epochs"))])


class TrainingDiverged(RunError):
    """A loss became NaN or infinite; the message says at which step and what to try."""


def update_discriminator(
    discriminator: nn.Module,
    optimizer: torch.optim.Optimizer,
    real: Tensor,
    fake: Tensor,
    loss_function: Callable[[Tensor, Tensor], Tensor] = discriminator_loss,
    penalty: Callable[[Callable, Tensor, Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of D on real and fake images (N, 1, 28, 28); returns (loss, real logits, fake logits), detached.

    `penalty(discriminator.logits, real, fake)`, where there is one, is added to the loss.
    """
    real_logits = discriminator.logits(real)
    fake_logits = discriminator.logits(fake.detach())  # detach: no gradient goes back into G
    loss = loss_function(real_logits, fake_logits)
    if penalty:
        loss = loss + penalty(discriminator.logits, real, fake.detach())
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


def train(
    config: TrainConfig,
    folder: str | Path | None = None,
    *,
    images: Tensor | None = None,
    resume: bool = False,
    on_epoch: Callable[[Run], None] | None = None,
    progress: bool = True,
) -> Run:
    """Train a GAN and keep it on disk; Ctrl-C (Kernel -> Interrupt) ends it cleanly and keeps every finished epoch.

    Args:
        config: what to train, and how.
        folder: where the run is kept; `runs/<config.name>` if not given.
        images: float32 (N, 1, 28, 28) in [-1, 1]; MNIST's training images if not given.
        resume: go on where the run in `folder` stopped, to the same bits as if it never had (same machine type,
            threads and precision, on the CPU); starts a new run where there is none.
        on_epoch: called with the run after each epoch.
        progress: show a progress bar with the losses and the time left.
    Returns:
        The run. `run.history` has a dictionary an epoch: epoch means of both losses (d_loss, g_loss) and those of the
        last batch (d_loss_last, g_loss_last), D's with its penalty, G's that of its last step in this epoch (0 before
        the first, where d_steps > 1); D's mean output on real and fake (d_real, d_fake); the share of each that D
        tells rightly (d_accuracy_real, d_accuracy_fake); seconds, cpu_seconds (of all threads), images_per_second.
    Raises:
        RunError: the folder cannot be written, is in use, holds another run, or one that `resume` was not asked for.
        TrainingDiverged: a loss became NaN or infinite; the last good epoch is kept.
    """
    folder = Path(folder).expanduser() if folder is not None else runs.runs_folder() / config.name
    folder = folder.absolute()  # the working folder may change before the next save
    images = _checked(load_mnist().images if images is None else images, config.images)
    with runs.one_writer(folder):
        run, state = _open(config, folder, images, resume)
        with numerics(run.config["machine"]):
            return _train(config, run, state, images, on_epoch, progress)


def _train(config: TrainConfig, run: Run, state: dict, images: Tensor, on_epoch, progress: bool) -> Run:
    """Iterate, record, save. The caller has set the number of threads."""
    device = choose_device(run.config["machine"]["device"])
    precision = run.config["machine"]["precision"]
    autocast = partial(torch.autocast, device.type, torch.bfloat16, enabled=precision == "bfloat16")
    images = images.to(device)
    d_loss_function, g_loss_function = LOSSES[config.loss]
    torch.manual_seed(config.seed)  # before the networks are built
    fixed_noise = torch.randn(64, config.z_dim)
    options = {key: getattr(config, key) for key in ("discriminator", "batch_norm", "spectral_norm")}
    pair = build(config.model, config.z_dim, config.init, **options)
    generator, discriminator = (network.to(device) for network in pair)
    average = copy.deepcopy(generator).requires_grad_(False) if config.ema else None
    g_optimizer = _adam(generator, config.lr, config, precision)
    d_optimizer = _adam(discriminator, config.d_lr or config.lr, config, precision)
    penalty = _penalty(config)
    networks = {"generator": generator, "discriminator": discriminator}
    networks |= {} if average is None else {"generator_average": average}
    optimizers = {"g_optimizer": g_optimizer, "d_optimizer": d_optimizer}
    saver = _Saver(run, networks, optimizers, fixed_noise.to(device))
    saver.restore_or_begin(state)

    starts = range(0, len(images) - 1, config.batch_size)  # a last batch of one is left out: batch norm needs two
    bar = tqdm(total=config.epochs * len(starts), initial=run.epochs * len(starts), unit="batch", disable=not progress)
    try:
        while run.epochs < config.epochs:
            start = time.perf_counter(), time.process_time()
            means, g_loss = _Means(), torch.zeros((), device=device)
            order = torch.randperm(len(images)).to(device)
            for step, first in enumerate(starts, 1):
                real = images.index_select(0, order[first : first + config.batch_size])  # (N, 1, 28, 28)
                with autocast():  # keeps a bfloat16 copy of the weights: leave it as soon as they change
                    fake = generator(torch.randn(len(real), config.z_dim, device=device))  # (N, 1, 28, 28)
                    d_loss, real_logits, fake_logits = update_discriminator(
                        discriminator, d_optimizer, real, fake, d_loss_function, penalty
                    )
                if config.clip:
                    clip_weights(discriminator, config.clip)
                if (run.epochs * len(starts) + step) % config.d_steps == 0:
                    with autocast():
                        g_loss = update_generator(discriminator, g_optimizer, fake, g_loss_function)
                    if average is not None:
                        update_average(average, generator, config.ema)
                means.add(d_loss, g_loss, real_logits, fake_logits)
                if not math.isfinite(d_loss + g_loss):
                    raise TrainingDiverged(_diverged(config, run, step, d_loss, g_loss))
                bar.set_postfix(D=f"{d_loss:.3f}", G=f"{g_loss:.3f}", refresh=False)
                bar.update()
            seconds, cpu_seconds = time.perf_counter() - start[0], time.process_time() - start[1]
            run.history.append({"epoch": run.epochs + 1} | means.row(seconds, cpu_seconds))
            saver.save()
            if on_epoch:
                on_epoch(run)
    except KeyboardInterrupt:
        if run.epochs > saver.saved:  # it came during a save, after which no weight has changed
            saver.save()
        run.interrupted = True
        print(
            f"Stopped: {run.epochs} of {config.epochs} epochs are kept in {run.folder}. "
            "train(config, resume=True) goes on."
        )
    finally:
        bar.close()
    return run


class _Means:
    """Sums over an epoch, in float64, of what the history records."""

    KEYS = ("d_loss", "g_loss", "d_real", "d_fake", "d_accuracy_real", "d_accuracy_fake")

    def __init__(self):
        self.totals, self.seen = torch.zeros(6, dtype=torch.float64), 0

    def add(self, d_loss: Tensor, g_loss: Tensor, real_logits: Tensor, fake_logits: Tensor) -> None:
        real, fake = real_logits.float(), fake_logits.float()
        outputs = [real.sigmoid().mean(), fake.sigmoid().mean(), (real > 0).float().mean(), (fake <= 0).float().mean()]
        self.last = torch.stack([d_loss, g_loss, *outputs]).double().cpu()
        self.totals += len(real) * self.last
        self.seen += len(real)

    def row(self, seconds: float, cpu_seconds: float) -> dict:
        row = dict(zip(self.KEYS, (self.totals / self.seen).tolist(), strict=True))
        row |= {"d_loss_last": float(self.last[0]), "g_loss_last": float(self.last[1])}
        return row | {"seconds": seconds, "cpu_seconds": cpu_seconds, "images_per_second": self.seen / seconds}


@dataclass
class _Saver:
    """What of a training must be kept for an exact resume, and how it comes back."""

    run: Run
    networks: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    fixed_noise: Tensor
    saved: int = -1  # the last epoch that is on disk

    def save(self) -> None:
        weights = [value for network in self.networks.values() for value in network.state_dict().values()]
        if not all(value.isfinite().all() for value in weights):  # the last step's update, which no loss has seen
            raise TrainingDiverged(
                f"A weight became NaN or infinite at the end of epoch {self.run.epochs} (learning rate "
                f"{self.run.config['train']['lr']:g}). Epoch {self.saved}, the last good one, is kept in "
                f"{self.run.folder}. Try a learning rate ten times smaller, or precision='float32'."
            )
        runs.save_epoch(self.run, self.networks, self._state(), self._grid())
        self.saved = self.run.epochs

    def restore_or_begin(self, tensors: dict[str, Tensor]) -> None:
        """Go on from a saved state; save the untrained networks as epoch 0 where there is none."""
        if not tensors:
            return self.save()
        try:
            self._restore(tensors)
        except (KeyError, ValueError, RuntimeError) as error:
            raise RunError(f"The state in {self.run.folder} does not fit its networks ({error}).") from None
        runs.publish(self.run, self.networks, self._grid())
        self.saved = self.run.epochs

    def _restore(self, tensors: dict[str, Tensor]) -> None:
        for name, network in self.networks.items():
            network.load_state_dict({k: tensors[f"{name}.{k}"] for k in network.state_dict()})
        for name, optimizer in self.optimizers.items():
            state = optimizer.state_dict()
            for key, value in tensors.items():
                if key.startswith(f"{name}."):
                    _, index, field = key.split(".")
                    state["state"].setdefault(int(index), {})[field] = value
            optimizer.load_state_dict(state)
            for parameter, moments in optimizer.state.items():  # fused Adam walks through memory: same order as there
                for field, value in moments.items():
                    if value.shape == parameter.shape:
                        moments[field] = torch.empty_like(parameter).copy_(value)
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"])

    def _state(self) -> dict[str, Tensor]:
        state = {"random.cpu": torch.get_rng_state()}
        if self.fixed_noise.is_cuda:
            state["random.cuda"] = torch.cuda.get_rng_state()
        for name, optimizer in self.optimizers.items():
            for index, fields_ in optimizer.state_dict()["state"].items():
                state |= {f"{name}.{index}.{field}": value for field, value in fields_.items()}
        return state

    def _grid(self) -> Tensor:
        """The samples of the fixed noise as one picture: uint8, 8 x 8 digits with 2 pixels between them."""
        shown = self.networks.get("generator_average", self.networks["generator"])
        tiles = F.pad(unscale(sample(shown, self.fixed_noise)).cpu(), (2, 0, 2, 0))  # (64, 1, 30, 30)
        rows = tiles.reshape(8, 8, 30, 30).transpose(1, 2).reshape(240, 240)
        return F.pad(rows, (0, 2, 0, 2))


def _open(config: TrainConfig, folder: Path, images: Tensor, resume: bool) -> tuple[Run, dict[str, Tensor]]:
    """The run of that folder and its last state, both empty where the folder is; says what it runs on."""
    train, sha256 = asdict(config), runs.digest({"images": images})
    state, history, machine = {}, [], None
    if any(not path.name.startswith(".") for path in folder.iterdir()):  # hidden: the lock, and what a kill left over
        if not resume:
            raise RunError(f"{folder} is not empty: pass resume=True to go on with its run, or another folder.")
        state, found, history, complaints = runs.last_state(folder)
        machine = found["machine"]
        there = {f.name: f.default for f in fields(TrainConfig)} | found["train"]  # an older run has fewer fields
        there |= {"SHA-256 of the images": found["data"]["sha256"]}
        here = train | {"SHA-256 of the images": sha256}
        changed = [
            f"{key} is {there.get(key)!r} there, {here.get(key)!r} here"
            for key in there | here
            if there.get(key) != here.get(key) and key != "epochs"
        ]
        if changed:
            raise RunError(f"{folder} holds another run: {'; '.join(changed)}. Train into another folder.")
        for complaint in complaints:
            print(f"{complaint} Going on from epoch {len(history)}, the last good one.")
        if machine.get("torch") != torch.__version__:
            print(f"Begun with PyTorch {machine.get('torch')}, going on with {torch.__version__}: bits may differ.")
    machine = machine or describe(config.device, config.precision, config.threads)
    train["epochs"] = max(config.epochs, len(history))  # asking for fewer takes nothing away
    data = {"images": len(images), "sha256": sha256}
    print(f"{folder.name}: {said(machine)}")
    return Run(folder, {"format": runs.FORMAT, "train": train, "data": data, "machine": machine}, history), state


def _penalty(config: TrainConfig) -> Callable | None:
    """What of the config's penalties is to be added to D's loss."""
    if not (config.r1 or config.gradient_penalty):
        return None

    def penalty(logits: Callable, real: Tensor, fake: Tensor) -> Tensor:
        total = torch.zeros((), device=real.device)
        if config.r1:
            total = total + config.r1 * r1_penalty(logits, real)
        if config.gradient_penalty:
            total = total + config.gradient_penalty * gradient_penalty(logits, real, fake)
        return total

    return penalty


def _adam(network: nn.Module, lr: float, config: TrainConfig, precision: str) -> torch.optim.Adam:
    """Adam as in the report; fused in bfloat16 only.

    The fused form differs in the last bit. Where a gradient is nothing but rounding (a bias before a batch norm, a
    parameter at its first steps) Adam scales that bit up to a whole step: float32 stays equal to the plain loop.
    """
    return torch.optim.Adam(network.parameters(), lr, betas=(float(config.beta1), 0.999), fused=precision == "bfloat16")


def _checked(images: Tensor, count: int | None) -> Tensor:
    """The first `count` images, after a look at their type, shape and range."""
    good = isinstance(images, Tensor) and images.dtype == torch.float32 and images.shape[1:] == (1, 28, 28)
    if not good or len(images) < 2:
        found = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"images is {found}; expected float32 (N, 1, 28, 28) with at least two images.")
    low, high = images.aminmax()
    if not (low >= -1 and high <= 1) or low >= 0:
        raise ValueError(
            f"images lie in [{low:g}, {high:g}]; expected [-1, 1], black being -1: see labutils.data.scale."
        )
    if (count or 0) > len(images):
        raise ValueError(f"config.images is {count}, but there are only {len(images)} images.")
    return images[:count].detach()


def _diverged(config: TrainConfig, run: Run, step: int, d_loss: Tensor, g_loss: Tensor) -> str:
    return (
        f"The loss became {'NaN' if math.isnan(d_loss + g_loss) else 'infinite'} in epoch {run.epochs + 1}, "
        f"step {step} (D {d_loss:g}, G {g_loss:g}, learning rate {config.lr:g}). Epoch {run.epochs}, the last good "
        f"one, is kept in {run.folder}. Try a learning rate ten times smaller, or precision='float32'."
    )
