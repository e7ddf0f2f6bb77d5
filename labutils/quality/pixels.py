"""What only the pixels show: images out of place, something on all of them, copies of training images, repeats."""

import itertools
import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from labutils.data import Digits

LIT, WHITE = -0.95, 0.8  # in [-1, 1]: above the first a pixel is lit, above the second it is white
LARGE = 20  # pixels that are cut out; of fewer count those inside a digit: the edges of thin or bent ones go black too
LIKELY = 4  # training images that each sample is compared with, at each shift


def looks(digits: Digits) -> dict[str, Tensor]:
    """Of the images of each digit, (10, 784) each: their mean, "means"; the share in which a pixel is lit, "lit", and
    in which one of the 5 x 5 around it is, "near"."""
    found = {"means": [], "lit": [], "near": []}
    for digit in range(10):
        images = digits.images[digits.labels == digit]
        found["means"].append(images.flatten(1).mean(0))
        found["lit"].append(_share(images > LIT))
        found["near"].append(_share(thicker(images, 5) > LIT))
    return {name: torch.stack(each) for name, each in found.items()}


def _share(these: Tensor) -> Tensor:
    return these.flatten(1).sum(0, dtype=torch.int32).float() / len(these)


def compare(images: Tensor, shares: Tensor, real: dict[str, Tensor]) -> dict[str, float | str]:
    """The fields of Quality that tell how images (N, 1, 28, 28) look beside real ones with these `shares` of digits."""
    x, (mean, lit, near) = images.flatten(1), (shares @ real[name] for name in ("means", "lit", "near"))
    on, white = x > LIT, x > WHITE
    often, black = _share(on), lit < 0.002  # (784,), of which real images leave `black` black
    gone = (often < 0.02) & (lit > 0.2)
    always = ((often > 0.95) & (near < 0.6)) | ((_share(white) > 0.95) & (lit < 0.6))  # blurred, strokes reach further
    return {
        "ink": float((x.mean(0) + 1).sum() / (mean + 1).sum()),
        "grey": float((on & ~white).sum() / on.sum().clamp(min=1)),
        "specks": float((x[:, black] > -0.5).float().mean()) if black.any() else 0.0,
        "always": int(always.sum()),
        "never": int((gone if gone.sum() > LARGE else gone & (_between(often) > 0.1)).sum()),
        "placement": placement(x.mean(0), [mean, real["means"].mean(0)]),
    }


def _between(often: Tensor) -> Tensor:
    """For each pixel of (784,) how often one is lit on both sides of it, in its row or in its column: (784,)."""
    x = often.view(28, 28)
    sides = [torch.minimum(x.cummax(dim).values, x.flip(dim).cummax(dim).values.flip(dim)) for dim in (0, 1)]
    return torch.maximum(*sides).flatten()


def placement(mean: Tensor, expected: list[Tensor]) -> str:
    """How all were moved, by their mean (784,): what brings the expected ones nearest, one of them much; or ""."""
    found, gains = set(), []
    for each in expected:
        misses = {name: float((moved.flatten() - mean).norm()) for name, moved in _moved(each.view(1, 1, 28, 28))}
        best = min(misses, key=misses.get)
        found.add(best)
        gains.append(misses[best] / max(misses[""], 1e-9))
    return best if len(found) == 1 and min(gains) < 0.6 else ""


def _moved(x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """What may be done to an image (1, 1, 28, 28), and the image then; "" is nothing."""
    for down, right in itertools.product(range(-3, 4), repeat=2):
        ways = [f"{abs(n)} {way[n > 0]}" for n, way in ((down, ("up", "down")), (right, ("left", "right"))) if n]
        yield f"shifted, {' and '.join(ways)}" if ways else "", x.roll((down, right), dims=(2, 3))
    changes = {"slanted to the right": (1, 0.3, 0, 1), "slanted to the left": (1, -0.3, 0, 1)}  # rows of a matrix
    for degrees in {*range(-45, 50, 5), -90, 90, 180} - {0}:
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        way = " clockwise" if degrees < 0 else " counter-clockwise"
        changes[f"rotated by {abs(degrees)}°{way}"] = cos, -sin, sin, cos
    for name, (a, b, c, d) in changes.items():
        places = F.affine_grid(torch.tensor([[[a, b, 0.0], [c, d, 0.0]]]), x.shape, align_corners=False)
        yield name, F.grid_sample(x + 1, places, align_corners=False) - 1
    yield "mirrored left to right", x.flip(3)
    yield "mirrored top to bottom", x.flip(2)
    yield "mirrored along the diagonal", x.transpose(2, 3)
    yield "negatives, black and white exchanged", -x


def outline(images: Tensor) -> Tensor:
    """(N, 1, 28, 28) -> (N, 49) of length 1, by which a training image is looked up, whatever its brightness."""
    return F.normalize(F.avg_pool2d(images + 1, 4).flatten(1))


def sine(images: Tensor, others: Tensor) -> Tensor:
    """Of the angle between each image (N, 1, 28, 28) and the nearest of others (N, K, 28, 28): (N,).

    0: one is the other, brighter or paler perhaps; 1: no pixel is lit in both.
    """
    x, y = (F.normalize((each + 1).flatten(2), dim=2) for each in (images, others))
    return (1 - (x * y).sum(2).amax(1).square()).clamp(min=0).sqrt()


def shifted_sine(images: Tensor, others: Tensor) -> Tensor:
    """`sine`, the least over shifts of the images by a pixel at most."""
    moves = itertools.product((-1, 0, 1), repeat=2)
    return torch.stack([sine(images.roll(move, dims=(2, 3)), others) for move in moves]).amin(0)


def to_training(images: Tensor, digit: Tensor, training: Digits, outlines: Tensor) -> Tensor:
    """`sine` of each image (N, 1, 28, 28) and the nearest training image of its `digit` (N,): (N,).

    Training images shifted by a pixel, made thicker and thinner count too. `outlines`: of the training images.
    """
    found = torch.ones(len(images))
    for label in digit.unique():
        here, there = (digit == label).nonzero()[:, 0], (training.labels == label).nonzero()[:, 0]
        x, known = images[here], outlines[there]
        for down, right in itertools.product((-1, 0, 1), repeat=2):
            moved = x.roll((down, right), dims=(2, 3))
            likely = there[(outline(moved) @ known.T).topk(min(LIKELY, len(there))).indices]
            likely = training.images[likely].squeeze(2)  # (n, LIKELY, 28, 28)
            found[here] = found[here].minimum(sine(moved, likely))
            for wide in (2, 3) if down == right == 0 else ():
                for changed in (thicker(likely, wide), -thicker(-likely, wide, 1.0)):
                    found[here] = found[here].minimum(sine(x, changed))
    return found


def thicker(images: Tensor, wide: int, border: float = -1.0) -> Tensor:
    """Each pixel becomes the brightest of `wide` x `wide`, beyond the images `border`."""
    before, after = wide // 2, (wide - 1) // 2
    return F.max_pool2d(F.pad(images, (before, after, before, after), value=border), wide, stride=1)
