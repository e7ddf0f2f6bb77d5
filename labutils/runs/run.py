"""One run on disk, as whoever reads it sees it.

runs/<name>/ holds state_even.safetensors and state_odd.safetensors: all that an exact resume needs, of the last two
epochs. The rest is made from them, for whoever reads the run: config.json, history.csv (a row an epoch), the networks
as safetensors, samples/*.png (the 64 fixed noise vectors), first_steps.json (the losses of the first steps).
"""

import io
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image
from torch import nn

from labutils.engine.files import REPAIR, RunError, read_bytes, read_history, read_json, read_tensors
from labutils.engine.machine import DEVICES, PRECISIONS
from labutils.engine.paths import expanded
from labutils.models import MAX_Z_DIM, MODELS, NETWORK_SETTINGS, build

FIRST_STEPS = 8  # their losses are equal on any number of threads; rounding tells machines apart a little later
FORMAT = 1  # of the folder; a later labutils that reads or writes another one raises it
GRID_SIZE = (242, 242)  # pixels of a sample grid: 8 x 8 digits of 28 x 28 with 2 between them
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
REQUIRED = {  # what reading or resuming a run takes from config.json
    "train": ("model", "z_dim", "epochs"),
    "data": ("images", "sha256"),
    "machine": ("device", "threads", "precision", "why"),
}


@dataclass
class Run:
    """A run: its folder, config.json as a dictionary, and the history, one dictionary an epoch.

    `first_steps`: (d_loss, g_loss) of its first eight steps, so that a run can be begun again and compared; empty in
    older runs.
    """

    folder: Path
    config: dict
    history: list[dict] = field(default_factory=list)
    interrupted: bool = False
    first_steps: list[tuple[float, float]] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """How many epochs are finished."""
        return len(self.history)

    def note_step(self, step: int, losses: Iterable[float]) -> None:
        """Keep (d_loss, g_loss) of a step, counted from 1 over the whole run, if it is the next of the first ones."""
        if step == len(self.first_steps) + 1 <= FIRST_STEPS:
            self.first_steps.append(tuple(map(float, losses)))

    def generator(self, averaged: bool | None = None) -> nn.Module:
        """The trained generator, in eval mode on the CPU; with TrainConfig.ema its average, unless `averaged=False`."""
        averaged = bool(self.config["train"].get("ema")) if averaged is None else averaged
        return self._network("generator_average" if averaged else "generator")

    def discriminator(self) -> nn.Module:
        """The trained discriminator, in eval mode on the CPU."""
        return self._network("discriminator")

    def sample_epochs(self) -> list[int]:
        """The epochs whose sample grid is on disk; 0 is before training."""
        numbers = (path.stem.removeprefix("epoch_") for path in (self.folder / "samples").glob("epoch_*.png"))
        return sorted(int(number) for number in numbers if number.isdecimal())

    def grid(self, epoch: int) -> Image.Image:
        """The picture of 64 samples after `epoch`, 8 x 8 digits, grey."""
        path = self.folder / "samples" / f"epoch_{epoch!s:0>4}.png"
        if epoch not in (there := self.sample_epochs()):
            raise RunError(f"{path} is missing; there are those of the epochs {', '.join(map(str, there)) or 'none'}.")
        content = read_bytes(path.with_name(f"epoch_{int(epoch):04d}.png"))
        try:  # PNG alone: for some formats Pillow starts other programs
            Image.open(io.BytesIO(content), formats=["PNG"]).verify()  # the checksum of each part
            image = Image.open(io.BytesIO(content), formats=["PNG"])
            if (image.mode, image.size) != ("L", GRID_SIZE) or not content.endswith(PNG_END):
                raise ValueError(f"{image.mode} {image.size} in place of L {GRID_SIZE}, or cut off")
            image.load()
            return image
        except Exception as error:
            raise RunError(f"{path} is damaged ({error}). Delete it; the rest of the run does not need it.") from None

    def _network(self, name: str) -> nn.Module:
        path = self.folder / f"{name}.safetensors"
        tensors, _ = read_tensors(path)
        tensors = {k: v.float() if v.dtype == torch.float16 else v for k, v in tensors.items()}  # kept at half the size
        train = self.config["train"]
        settings = {key: train[key] for key in NETWORK_SETTINGS if key in train}  # an older run has fewer
        try:
            with torch.device("meta"):  # takes no memory and no random number, whatever the config claims
                pair = build(**settings | {"init": "default"})
        except (ValueError, TypeError) as error:
            raise RunError(f"{self.folder / 'config.json'} describes no network of labutils: {error}") from None
        network = pair[name == "discriminator"]
        expected = {key: f"{value.dtype} {tuple(value.shape)}" for key, value in network.state_dict().items()}
        found = {key: f"{value.dtype} {tuple(value.shape)}" for key, value in tensors.items()}
        if expected != found:
            odd = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))[0]
            raise RunError(
                f"{path} does not fit config.json (model {train['model']!r}): {odd} is {found.get(odd, 'missing')}, "
                f"expected {expected.get(odd, 'nothing')}. One of the two comes from another run."
            )
        network.load_state_dict(tensors, assign=True)
        return network.eval()


def runs_folder() -> Path:
    """Where runs are kept: LABUTILS_RUNS, or `runs` at the top of the lab's folder, or `runs` in the working folder."""
    if os.environ.get("LABUTILS_RUNS"):
        return expanded(os.environ["LABUTILS_RUNS"])
    top = Path(__file__).parents[2]
    return (top if (top / "notebooks").is_dir() else Path.cwd()) / "runs"


def shipped(name: str) -> Path:
    """The folder of a run that comes with labutils, for `load_run`; RunError lists them if there is no such one."""
    folder = Path(__file__).parents[1] / "assets" / "runs" / name
    if not (folder / "config.json").is_file():
        raise RunError(f"No run {name!r} comes with labutils; there are: {_names(folder.parent)}.")
    return folder


def load_run(folder: str | Path) -> Run:
    """Read a run by its folder alone.

    Raises:
        RunError: the folder is not a run, comes from another version, or a file is damaged; a sentence says which.
    """
    folder = expanded(folder)
    if not os.path.isfile(folder / "config.json"):
        raise RunError(f"{folder} is not a run: no config.json can be found in it. Runs here: {_names(folder.parent)}.")
    config = checked_config(read_json(folder / "config.json"), folder / "config.json")
    history = checked_history(read_history(folder / "history.csv"), folder / "history.csv")
    path = folder / "first_steps.json"
    first_steps = read_json(path).get("steps") if os.path.lexists(path) else []
    return Run(folder, config, history, first_steps=checked_steps(first_steps, path))


def checked_config(config: dict, path: Path) -> dict:
    """A config as read from `path`, of this format and with all that is needed; RunError otherwise."""
    if config.get("format") != FORMAT:
        found = config.get("format", "none")
        raise RunError(f"{path} has run format {found}, this labutils reads format {FORMAT}: use the version it names.")
    parts = {part: config.get(part) if isinstance(config.get(part), dict) else {} for part in REQUIRED}
    missing = [f"{part}.{key}" for part, keys in REQUIRED.items() for key in keys if key not in parts[part]]
    if missing:
        raise RunError(f"{path} lacks {', '.join(missing)}: it is not from a training of labutils.")
    model, z_dim = parts["train"]["model"], parts["train"]["z_dim"]
    if model not in list(MODELS):
        raise RunError(f"{path} asks for the model {model!r}; labutils has {', '.join(MODELS)}.")
    if type(z_dim) is not int or not 1 <= z_dim <= MAX_Z_DIM:
        raise RunError(f"{path} asks for z_dim {z_dim!r}; expected a whole number from 1 to {MAX_Z_DIM}.")
    machine = parts["machine"]
    for key, known in (("device", DEVICES[1:]), ("precision", PRECISIONS[1:]), ("threads", range(1, 1025))):
        if type(machine[key]) is bool or machine[key] not in known:
            raise RunError(f"{path} says that the {key} was {machine[key]!r}, which labutils does not know.")
    if type(parts["train"]["epochs"]) is not int or not parts["train"]["epochs"] > 0:
        raise RunError(f"{path} asks for {parts['train']['epochs']!r} epochs; expected a whole number of at least 1.")
    return config


def checked_history(history: object, path: Path) -> list[dict]:
    """A history as read from `path`: one row for each epoch, of the same finite numbers; RunError otherwise."""
    rows = history if isinstance(history, list) and all(isinstance(row, dict) for row in history) else [{}]
    whole = all(row.get("epoch") == epoch and row.keys() == rows[0].keys() for epoch, row in enumerate(rows, 1))
    numbers = [value for row in rows for value in row.values()]
    if not whole or not all(type(value) in (int, float) and math.isfinite(value) for value in numbers):
        raise RunError(f"{path} holds no history, a row of finite numbers for each epoch. {REPAIR}")
    return rows


def checked_steps(steps: object, path: Path) -> list[tuple[float, float]]:
    """First steps as read from `path`: a pair of finite numbers each, eight at most; RunError otherwise."""
    pairs = steps if isinstance(steps, list) and all(isinstance(pair, list | tuple) for pair in steps) else [()]
    numbers = all(len(pair) == 2 and all(type(v) is float and math.isfinite(v) for v in pair) for pair in pairs)
    if not numbers or len(pairs) > FIRST_STEPS:
        raise RunError(f"{path} holds no losses of the first steps, {FIRST_STEPS} pairs of numbers at most. {REPAIR}")
    return [tuple(pair) for pair in pairs]


def _names(folder: Path) -> str:
    return ", ".join(sorted(p.parent.name for p in folder.glob("*/config.json"))[:12]) or "none"
