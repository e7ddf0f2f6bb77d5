"""What an exact resume keeps of a training, and how it comes back; one writer at a time.

state_even.safetensors and state_odd.safetensors take turns: a save leaves the last good one whole.
"""

import contextlib
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from filelock import FileLock, Timeout
from PIL import Image
from torch import Tensor, nn

from labutils.data import unscale
from labutils.engine import files
from labutils.engine.files import RunError
from labutils.engine.machine import choose_device, describe, said
from labutils.models import sample
from labutils.runs.run import FORMAT, Run, checked_config, checked_history, checked_steps

REMEDY = "Try a learning rate ten times smaller, or precision='float32'."
STATES = ("state_even.safetensors", "state_odd.safetensors")  # by the number of the epoch: a save leaves the last one


class TrainingDiverged(RunError):
    """A loss or a weight became NaN or infinite; the message says at which step and what to try."""


def diverged(run: Run, step: int, d_loss: float, g_loss: float) -> TrainingDiverged:
    """What to raise where a loss of the epoch after the run's last became NaN or infinite."""
    what = "NaN" if math.isnan(d_loss + g_loss) else "infinite"
    return TrainingDiverged(
        f"The loss became {what} in epoch {run.epochs + 1}, step {step} (D {d_loss:g}, G {g_loss:g}, learning rate "
        f"{run.config['train']['lr']:g}). Epoch {run.epochs}, the last good one, is kept in {run.folder}. {REMEDY}"
    )


@contextlib.contextmanager
def one_writer(folder: Path, lock: Path | None = None, timeout: float = 0) -> Iterator[Callable[[], None]]:
    """Hold the run for one training; the operating system lets go of it when the process ends, however it ends.

    `lock` is the file to hold, <folder>/.lock if not given; `timeout` the seconds to wait for another one to let go.
    Gives a function that raises RunError where the folder or its lock is no longer the one that is held.
    """
    path = lock or folder / ".lock"
    lock = FileLock(path, is_singleton=False)
    with files.said_in_a_sentence(folder):
        files.refuse_link(path)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=timeout)
        except Timeout:
            do = "wait for it, stop it, or train into another folder"
            raise RunError(f"Another training is writing {folder}; {do}.") from None
    held = _identity(path)

    def check_hold() -> None:
        if _identity(path) != held:
            raise RunError(
                f"{folder} was deleted, renamed or begun anew by somebody else while this training wrote it. It stops "
                "here and writes nothing more; what it saved is where the folder went."
            )

    try:
        yield check_hold
    finally:
        lock.release()


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another one of the same name."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def open_run(
    folder: Path, config: object, images: Tensor, resume: bool, steps: Sequence[Callable] = ()
) -> tuple[Run, dict[str, Tensor]]:
    """The run of that folder and its last state, both empty where the folder is; says what it runs on.

    Args:
        config: the settings of the training, a dataclass; a run that lacks one, as older runs do, has its default.
        steps: the functions that are going to train it; config.json keeps the names of all that ever did.
    """
    sha256, train = files.digest({"images": images}), asdict(config)
    state, history, first_steps, machine, trained_by = {}, [], [], None, []
    where = ("device", "precision", "threads")  # may differ from the run's where it moves to another device
    if any(not path.name.startswith(".") for path in folder.iterdir()):  # hidden: the lock, and what a kill left over
        if not resume:
            raise RunError(f"{folder} is not empty: pass resume=True to go on with its run, or another folder.")
        state, found, history, first_steps, complaints = last_state(folder)
        trained_by = found.get("steps", [])
        machine, moves = found["machine"], _moves(found["machine"]["device"], train["device"])
        defaults = {field.name: field.default for field in fields(config)}
        there = defaults | found["train"] | {"SHA-256 of the images": found["data"]["sha256"]}
        here = train | {"SHA-256 of the images": sha256}
        changed = [
            f"{key} is {there.get(key)!r} there, {here.get(key)!r} here"
            for key in there | here
            if there.get(key) != here.get(key) and key != "epochs" and not (moves and key in where)
        ]
        if changed:
            raise RunError(f"{folder} holds another run: {'; '.join(changed)}. Train into another folder.")
        for complaint in complaints:
            print(f"{complaint} Going on from epoch {len(history)}, the last good one.")
        if machine.get("torch") != torch.__version__:
            print(f"Begun with PyTorch {machine.get('torch')}, going on with {torch.__version__}: bits may differ.")
        if moves:
            machine = describe(*(train[key] for key in where))
            print(
                f"Begun on the device {found['machine']['device']}, going on on {machine['device']}: from here on the "
                "bits differ from those of a run that stayed there."
            )
    machine = machine or describe(train["device"], train["precision"], train["threads"])
    train = train | {"epochs": max(train["epochs"], len(history))}  # asking for fewer takes nothing away
    data = {"images": len(images), "sha256": sha256}
    trained_by = _with_names(trained_by, steps if len(history) < train["epochs"] else ())
    print(f"{folder.name}: {said(machine)}")
    config = {"format": FORMAT, "train": train, "data": data, "machine": machine, "steps": trained_by}
    return Run(folder, config, history, first_steps=first_steps), state


def _with_names(there: list[str], steps: Sequence[Callable]) -> list[str]:
    names = [f"{getattr(s, '__module__', '')}.{getattr(s, '__qualname__', type(s).__name__)}" for s in steps]
    return list(dict.fromkeys([*there, *names]))


def _moves(there: str, wanted: str) -> bool:
    """Whether a run that was begun on the device `there` goes on on another one, since it is missing or not wanted."""
    if wanted not in ("auto", there):
        return True
    try:
        choose_device(there)
    except ValueError:
        return True
    return False


@dataclass
class Checkpoint:
    """A training's networks and optimisers by name, as they go to disk after an epoch and come back."""

    run: Run
    networks: dict[str, nn.Module]  # "generator", "discriminator", and "generator_average" if there is one
    optimizers: dict[str, torch.optim.Optimizer]
    fixed_noise: Tensor  # (64, z_dim), of the sample grids
    check_hold: Callable[[], None]  # of `one_writer`
    saved: int = -1  # the last epoch that is on disk

    def save(self) -> None:
        """Write an epoch: first its state, which alone decides where a resume goes on, then what is made from it."""
        self.check_hold()
        weights = {f"{n}.{key}": value for n, net in self.networks.items() for key, value in net.state_dict().items()}
        if not all(value.isfinite().all() for value in weights.values()):  # the last step's update, which no loss saw
            raise TrainingDiverged(
                f"A weight became NaN or infinite at the end of epoch {self.run.epochs} (learning rate "
                f"{self.run.config['train']['lr']:g}). Epoch {self.saved}, the last good one, is kept in "
                f"{self.run.folder}. {REMEDY}"
            )
        about = {"config": self.run.config, "history": self.run.history, "first_steps": self.run.first_steps}
        files.write_tensors(self.run.folder / STATES[self.run.epochs % 2], weights | self._state(), about)
        self._publish()

    def stop(self) -> None:
        """Keep what an interrupted training has, and say how it goes on."""
        if self.run.epochs > self.saved:  # the interrupt came during a save, after which no weight has changed
            self.save()
        self.run.interrupted = True
        of = f"{self.run.epochs} of {self.run.config['train']['epochs']}"
        print(f"Stopped: {of} epochs are kept in {self.run.folder}. train(config, resume=True) goes on.")

    def restore_or_begin(self, tensors: dict[str, Tensor]) -> None:
        """Go on from a saved state; save the untrained networks as epoch 0 where there is none."""
        if not tensors:
            return self.save()
        try:
            self._restore(tensors)
        except (KeyError, ValueError, RuntimeError) as error:
            raise RunError(f"The state in {self.run.folder} does not fit its networks ({error}).") from None
        self._publish()

    def _publish(self) -> None:
        """Write what a reader of the run wants: config.json, the networks, history.csv and this epoch's sample grid."""
        folder, epochs = self.run.folder, self.run.epochs
        files.refuse_link(folder / "samples")
        files.write_json(folder / "config.json", self.run.config)
        for name, network in self.networks.items():
            files.write_tensors(folder / f"{name}.safetensors", network.state_dict(), {"epoch": epochs})
        files.write_history(folder / "history.csv", self.run.history)
        files.write_json(folder / "first_steps.json", {"steps": self.run.first_steps})
        picture = io.BytesIO()
        shown = self.networks.get("generator_average", self.networks["generator"])
        Image.fromarray(grid(shown, self.fixed_noise).numpy()).save(picture, "PNG")
        files.write_whole(folder / "samples" / f"epoch_{epochs:04d}.png", picture.getvalue())
        self.saved = epochs

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
        device = self.fixed_noise.device.type
        if device != "cpu" and f"random.{device}" in tensors:
            getattr(torch, device).set_rng_state(tensors[f"random.{device}"])

    def _state(self) -> dict[str, Tensor]:
        state = {"random.cpu": torch.get_rng_state()}
        if (device := self.fixed_noise.device.type) != "cpu":
            state[f"random.{device}"] = getattr(torch, device).get_rng_state()
        for name, optimizer in self.optimizers.items():
            for index, moments in optimizer.state_dict()["state"].items():
                state |= {f"{name}.{index}.{field}": value for field, value in moments.items()}
        return state


def grid(generator: nn.Module, noise: Tensor) -> Tensor:
    """The samples of noise (64, z_dim) as one picture: uint8 (242, 242), 8 x 8 digits with 2 pixels between them."""
    tiles = F.pad(unscale(sample(generator, noise)).cpu(), (2, 0, 2, 0))  # (64, 1, 30, 30)
    rows = tiles.reshape(8, 8, 30, 30).transpose(1, 2).reshape(240, 240)
    return F.pad(rows, (0, 2, 0, 2))


def last_state(folder: Path) -> tuple[dict[str, Tensor], dict, list[dict], list, list[str]]:
    """The newest good state of a run: (tensors, config, history, first steps, sentences about files not good)."""
    good, complaints = [], []
    for path in (folder / name for name in STATES if (folder / name).exists()):
        try:
            tensors, about = files.read_tensors(path)
            if not about.keys() >= {"config", "history"}:
                raise RunError(f"{path} is another file, not the state of a run.")
            config, history = checked_config(about["config"], path), checked_history(about["history"], path)
            first_steps = checked_steps(about.get("first_steps", []), path)
            good.append((tensors, config, history, first_steps, complaints))
        except RunError as error:
            complaints.append(str(error))
    if not good:
        found = " ".join(complaints) or f"It has neither {' nor '.join(STATES)}."
        raise RunError(f"{folder} cannot be resumed. {found} Train into another folder.")
    return max(good, key=lambda state: len(state[2]))
