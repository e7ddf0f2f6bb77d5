"""Pictures that several notebooks need. Each function returns a matplotlib Figure: end a cell with it to see it."""

import math

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from labutils.engine import fonts  # noqa: F401  with it Chinese comes out as characters
from labutils.engine.settings import checked_tiles


def refuse_empty(shown, what: str) -> None:
    """ValueError with `what` to do if there is nothing to draw."""
    if len(shown) == 0:
        raise ValueError(f"There is nothing to draw: {what}.")


def _done(figure: Figure, title: str | None = None) -> Figure:
    """The figure with its title, closed, so that a notebook shows it once, where it is returned."""
    figure.suptitle(title)
    plt.close(figure)
    return figure


def show_digits(images: Tensor, labels=None, columns: int = 8) -> Figure:
    """Draw images (N, 1, 28, 28) in [-1, 1] row by row, -1 black and 1 white; `labels`, N of them, stand above each."""
    tiles = checked_tiles(images)  # (N, 28, 28)
    refuse_empty(tiles, "`images` holds no image")
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"There are {len(labels)} labels but {len(images)} images; hand over as many of both.")
    columns = max(1, min(columns, len(images)))
    rows, gap = -(-len(images) // columns), 1 if labels is None else 11
    canvas = torch.ones(rows * (28 + gap), columns * 29 + 1)  # white between the tiles
    figure, axes = plt.subplots(figsize=(0.7 * columns, 0.7 * rows * (28 + gap) / 29))
    for i, image in enumerate(tiles):
        top, left = i // columns * (28 + gap) + gap, i % columns * 29 + 1
        canvas[top : top + 28, left : left + 28] = image
        if labels is not None:
            axes.text(left + 14, top - 2, str(labels[i]), ha="center", va="bottom", fontsize=9)
    axes.imshow(canvas.numpy(), cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    figure.tight_layout(pad=0.2)
    return _done(figure)


NO_EPOCH = "the history has no epoch yet. Train one first"
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"  # told apart by colour-blind readers (Okabe and Ito)
ROLES = {"real": BLUE, "fake": ORANGE, "G": ORANGE, "D": GREEN}  # the same in every figure of the lab


def sample_grids(run, epochs: list[int], columns: int = 5, title: str | None = None) -> Figure:
    """Draw the 64 samples of the fixed noise after each of `epochs` of a run, 0 being before training."""
    refuse_empty(epochs, "name one epoch at least; `run.sample_epochs()` are there")
    columns = max(1, min(columns, len(epochs)))
    rows = -(-len(epochs) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.4 * columns, 2.6 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, epoch in zip(axes.flat, epochs, strict=False):
        axis.imshow(run.grid(epoch), cmap="gray", vmin=0, vmax=255)
        axis.set_title(f"epoch {epoch}", fontsize=10)
    return _done(figure, title)


def loss_curves(history: list[dict], title: str | None = None) -> Figure:
    """Draw both losses of a run's history, epoch means and last batches, and beside them D's outputs and accuracy."""
    refuse_empty(history, NO_EPOCH)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    _draw_losses(left, history, last_batch=True)
    epochs = [row["epoch"] for row in history]
    for key, name, colour in (("real", "real", ROLES["real"]), ("fake", "generated", ROLES["fake"])):
        correct, output = ([row[f"d_{column}{key}"] for row in history] for column in ("accuracy_", ""))
        right.plot(epochs, correct, "o-", ms=3, color=colour, label=f"D correct: {name}")
        right.plot(epochs, output, "x--", ms=4, color=colour, label=f"D's mean output: {name}")
    right.axhline(0.5, color="grey", lw=0.8, ls=":")
    right.xaxis.get_major_locator().set_params(integer=True)
    right.set(xlabel="epoch", ylabel="share of images, or D's output", ylim=(-0.03, 1.03))
    right.legend(fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))
    return _done(figure, title)


def progress(run) -> Figure:
    """Draw where a run stands: the newest samples of the fixed noise, and both loss curves."""
    refuse_empty(run.history, NO_EPOCH)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), width_ratios=(4, 5), layout="constrained")
    left.imshow(run.grid(run.epochs), cmap="gray", vmin=0, vmax=255)
    left.set_axis_off()
    left.set_title(f"after epoch {run.epochs} of {run.config['train']['epochs']}")
    _draw_losses(right, run.history)
    return _done(figure)


def _draw_losses(axes, history: list[dict], last_batch: bool = False) -> None:
    """Both losses against the epoch, with their values at equilibrium (D = 1/2 everywhere) as dotted lines."""
    epochs = [row["epoch"] for row in history]
    for key, name, colour, level, text in (
        ("d_loss", "D", ROLES["D"], 2 * math.log(2), "2 ln 2"),
        ("g_loss", "G", ROLES["G"], math.log(2), "ln 2"),
    ):
        axes.plot(epochs, [row[key] for row in history], "o-", ms=3, color=colour, label=f"{name}, epoch mean")
        if last_batch:
            last = [row[f"{key}_last"] for row in history]
            axes.plot(epochs, last, lw=0.8, alpha=0.7, color=colour, label=f"{name}, last batch")
        axes.axhline(level, color=colour, lw=1, ls=":", label=f"{text}, {name} at equilibrium")
    axes.set(xlabel="epoch", ylabel="loss (nats)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))  # above: it never hides a curve
