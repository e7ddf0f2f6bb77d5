"""What notebooks 07 and 08 draw and tabulate: failed games and their symptoms, scores in words, and by truncation."""

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import pad

from labutils.plots import BLUE, ORANGE

KEYS = ("L_D", "D is right", "gradient of G", "variety")  # what a game's curves are called, in the order of its rows


def variety(images: Tensor) -> float:
    """Mean Euclidean distance between two of the images (N, 1, 28, 28)."""
    return torch.pdist(images.detach().flatten(1)).mean().item()


def game_picture(game, title: str, reference=None) -> Figure:
    """Curves of a game, orange, over those of a reference, grey; and its 32 samples. See `play` in notebook 07."""
    figure, axes = plt.subplots(1, 5, figsize=(13, 2.7), width_ratios=(3, 3, 3, 3, 4), layout="constrained")
    for axis, key in zip(axes, KEYS, strict=False):
        for each, colour in ((reference, "0.7"), (game, ORANGE)):
            if each:
                axis.plot(each.curves[key], color=colour, lw=1)
        axis.set(title=key, xlabel="step")
    axes[0].set_ylabel("nats")
    axes[1].set_ylim(-0.03, 1.03)
    axes[2].set_yscale("symlog", linthresh=1e-3)  # a logarithm, down to zero
    axes[2].set_ylim(bottom=-3e-4)
    axes[3].set_ylim(bottom=0)
    tiles = pad(game.end, (1, 1, 1, 1), value=1).reshape(4, 8, 30, 30).transpose(1, 2).reshape(120, 240)
    axes[4].imshow(tiles, cmap="gray", vmin=-1, vmax=1)
    axes[4].set_axis_off()
    figure.suptitle(title)
    plt.close(figure)
    return figure


def symptoms(game) -> dict[str, float]:
    """The numbers of a game by which its failure shows: means of the last 20 steps, its samples before and after."""
    last = {key: curve[-20:].mean().item() for key, curve in game.curves.items()}
    clean = ((game.end - game.black).abs() < 0.01).float().mean().item()
    saturated = (game.start.abs() > 0.99).float().mean().item()
    return last | {"clean ground": clean, "start: saturated": saturated, "start: variety": variety(game.start)}


def symptoms_table(games: dict, own: dict[str, str]) -> str:
    """The symptoms of games, by name, as a Markdown table; in bold the one that `own` names for each."""
    measured = {name: symptoms(game) for name, game in games.items()}
    columns = list(next(iter(measured.values())))
    text = [f"| | {' | '.join(columns)} |", "|---" + "|---:" * len(columns) + "|"]
    for name, row in measured.items():
        cells = [f"**{value:.3f}**" if own.get(name) == key else f"{value:.3f}" for key, value in row.items()]
        text.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(text)


def in_words(line: dict, metrics: tuple[str, ...]) -> str:
    """A line of `labutils.study.table`: who lives, and of the living the lowest to the highest of each metric."""
    spans = [f"{m} {line[m]['min']:.3g} to {line[m]['max']:.3g}" for m in metrics if m in line]
    return "; ".join([f"{line['alive']} of {line['seeds']} live", *spans])


def truncation_curves(scores: dict, real) -> Figure:
    """`labutils.quality.Quality` by threshold: precision, recall and coverage beside the Fréchet distance."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for name, colour in (("precision", BLUE), ("recall", ORANGE), ("coverage", "0.4")):
        left.plot([getattr(score, name) for score in scores.values()], "o-", color=colour, label=name)
        left.axhline(getattr(real, name), color=colour, ls=":", lw=1)
    right.plot([score.frechet for score in scores.values()], "o-", color="black")
    right.axhline(real.frechet, color="black", ls=":", lw=1)
    for axes, label in ((left, "share (dotted: real against real)"), (right, "Fréchet distance")):
        axes.set(xlabel="truncation threshold t", ylabel=label)
        axes.set_xticks(range(len(scores)), [f"{threshold:g}" for threshold in scores])
    left.legend(fontsize=8)
    right.set_yscale("log")
    plt.close(figure)
    return figure
