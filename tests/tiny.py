"""A GAN of a few thousand weights, for tests that train, break and resume a run many times."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from labutils import models, runs
from labutils.training import TrainConfig


class TinyGenerator(models.Generator):
    def __init__(self, z_dim: int = 4):
        nn.Module.__init__(self)
        self.z_dim = z_dim
        self.layers = nn.Sequential(nn.Linear(z_dim, 784), nn.Tanh(), nn.Unflatten(1, models.IMAGE))


class TinyDiscriminator(models.Discriminator):
    def __init__(self, dropout: float = 0.3):
        nn.Module.__init__(self)
        hidden = [nn.Linear(784, 8), nn.ReLU(), models.Dropout(dropout)]
        self.layers = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(8, 1), nn.Sigmoid())


NETWORKS = (TinyGenerator, TinyDiscriminator)  # to stand in for models.MODELS["mlp"]


def images(count: int = 48) -> Tensor:
    """Images of noise, the same in every process."""
    return torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(1)) * 2 - 1


def config(**changes) -> TrainConfig:
    """Two batches an epoch, one thread."""
    settings = {"epochs": 3, "batch_size": 32, "z_dim": 4, "precision": "float32", "device": "cpu", "threads": 1}
    return TrainConfig(**settings | changes)


def untimed(history: list[dict]) -> list[dict]:
    """A history without what no two runs share."""
    return [{key: row[key] for key in row if "second" not in key} for row in history]


def fingerprint(folder: Path) -> dict:
    """All of a run that must come out the same, by file: hashes of tensors and pictures, the history without times."""
    prints = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "samples").iterdir()}
    for path in folder.glob("*.safetensors"):
        tensors, about = runs.read_tensors(path)
        prints[path.name] = runs.digest(tensors), about.get("config"), untimed(about.get("history", []))
    run = runs.load_run(folder)
    kept = {"config.json": run.config, "history.csv": untimed(run.history), "first_steps.json": run.first_steps}
    return prints | kept
