"""What a training's history records of an epoch: sums that stay on the device until somebody reads them."""

import math

import torch
from torch import Tensor

AT_ONCE = 8  # steps at the start of an epoch that are read at once: a run keeps the losses of its first ones


class NotFinite(ArithmeticError):
    """A loss is NaN or infinite: `step`, counted from 1 in this epoch, `d_loss` and `g_loss` say which."""

    def __init__(self, step: int, d_loss: float, g_loss: float):
        super().__init__(step, d_loss, g_loss)
        self.step, self.d_loss, self.g_loss = step, d_loss, g_loss


@torch.no_grad()
def measures(d_loss: Tensor, g_loss: Tensor, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """What is kept of one step, (6,), in the order of Means.KEYS, from its losses and D's logits (N, 1)."""
    real, fake = real_logits.float(), fake_logits.float()
    outputs = [real.sigmoid().mean(), fake.sigmoid().mean(), (real > 0).float().mean(), (fake <= 0).float().mean()]
    return torch.stack([d_loss, g_loss, *outputs])


class Means:
    """Sums over an epoch, in float64, in which each image counts once.

    A GPU works on while nobody asks for a number, so its steps are read every so many at once; a CPU's at once.
    """

    KEYS = ("d_loss", "g_loss", "d_real", "d_fake", "d_accuracy_real", "d_accuracy_fake")

    def __init__(self, device: torch.device):
        self.every = 1 if device.type == "cpu" else 50  # steps between two readings, after the first
        self.waiting, self.totals, self.images, self.steps = [], torch.zeros(6, dtype=torch.float64), 0, 0
        self.last = self.totals  # the newest step that was read

    def add(self, size: int, step: Tensor) -> None:
        """Take the `measures` (6,) of one step, of a batch of that size."""
        self.waiting.append((size, step))
        if len(self.waiting) == self.every or self.steps < AT_ONCE:
            self.read()

    def read(self) -> None:
        """Fetch what waits on the device, in one transfer; NotFinite if a loss is no number."""
        if not self.waiting:
            return
        sizes, steps = zip(*self.waiting, strict=True)
        self.waiting = []
        for size, step in zip(sizes, torch.stack(steps).cpu().double(), strict=True):
            self.totals += size * step
            self.images, self.steps, self.last = self.images + size, self.steps + 1, step
            if not math.isfinite(step[0] + step[1]):
                raise NotFinite(self.steps, float(step[0]), float(step[1]))

    def row(self, seconds: float, cpu_seconds: float) -> dict[str, float]:
        """The epoch's line in the history, without its number."""
        row = dict(zip(self.KEYS, (self.totals / self.images).tolist(), strict=True))
        row |= {"d_loss_last": float(self.last[0]), "g_loss_last": float(self.last[1])}
        return row | {"seconds": seconds, "cpu_seconds": cpu_seconds, "images_per_second": self.images / seconds}
