"""Right and wrong answers to the exercises of notebook 03."""

import itertools
import math

import torch

from labutils.models import Dropout

CASES = {}  # number -> (right answers, wrong ones with their sentences)


def counted(bias=lambda a, b: b, stop=None):
    """An answer to exercise 3.1; the defaults give a right one."""
    return lambda w: sum(a * b + bias(a, b) for a, b in list(itertools.pairwise(w))[:stop])


def counted_by_building(widths):
    layers = (torch.nn.Linear(a, b) for a, b in itertools.pairwise(widths))
    return sum(p.numel() for layer in layers for p in layer.parameters())


CASES["3.1"] = (
    [counted(), counted_by_building],
    [
        (counted(lambda a, b: 0), "The biases are missing"),
        (counted(lambda a, b: 1), "not one in all"),
        (counted(lambda a, b: a), "not to its inputs"),
        (lambda w: counted()(w) + w[0], "The input has no bias"),
        (counted(stop=-1), "The last layer is missing"),
        (lambda w: 1486352, "For widths [2, 3] you counted 1486352"),
    ],
)


def dropped(draw=lambda x: torch.rand(x.shape), keep=lambda u, p: u >= p, scale=lambda p: 1 / (1 - p)):
    """An answer to exercise 3.2; the defaults give a right one."""
    return lambda x, p: x * keep(draw(x), p) * scale(p)


def dropped_in_place(x, p):
    return x.mul_(torch.rand(x.shape) >= p).div(1 - p)


CASES["3.2"] = (
    [dropped(), torch.nn.functional.dropout, lambda x, p: Dropout(p)(x)],
    [
        (dropped(keep=lambda u, p: u < p), "p is the share to drop"),
        (dropped(keep=lambda u, p: u >= p / 2), "expected about 0.7"),
        (dropped(scale=lambda p: 1), "divide by 1 - p"),
        (dropped(scale=lambda p: 1 - p), "expected 1 / (1 - p) = 1.4286"),
        (dropped(lambda x: torch.rand(x.shape[1])), "Every row has the same mask"),
        (dropped(lambda x: torch.rand(len(x), 1)), "Whole rows are dropped"),
        (dropped(lambda x: torch.rand(x.shape, generator=torch.Generator().manual_seed(0))), "do not fix a seed"),
        (dropped(keep=lambda u, p: u >= max(p, 0.1)), "With p = 0 nothing is dropped"),
        (dropped_in_place, "changes x, which belongs to the caller"),
        (lambda x, p: torch.where(torch.rand(x.shape) < p, 0.0, x * math.nan) if p else x, "multiplied by nan"),
        (lambda x, p: dropped()(x, p).tolist(), "must return a tensor"),
    ],
)
