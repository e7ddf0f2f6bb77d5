"""Right and wrong answers to the exercises of notebook 05."""

import math

import torch

from labutils.losses import bce

CASES = {}  # number -> (right answers, wrong ones with their sentences)


def label_loss(label, reduction="mean"):
    return lambda p: torch.nn.functional.binary_cross_entropy(p, torch.full_like(p, label), reduction=reduction)


CASES["5.1"] = (
    [
        label_loss(1.0),
        lambda p: -torch.log(p).mean(),
        lambda p: bce(torch.logit(p), 1),
        lambda p: -p.double().log().mean(),
    ],
    [
        (lambda p: p.log().mean(), "sign is wrong"),
        (lambda p: (1 - p).log().mean(), "saturating loss"),
        (label_loss(0.0), "label 0"),
        (label_loss(1.0, "sum"), "sum over the batch"),
        (lambda p: -p.log2().mean(), "in bits"),
        (lambda p: -p.log10().mean(), "base 10"),
        (label_loss(1.0, "none"), "Return one number"),
        (lambda p: -p.log().mean().item(), "Return one number"),
        (lambda p: -p.detach().log().mean(), "carries no gradient"),
        (lambda p: p.mean(), "the loss is 0.4667"),
    ],
)


def arc(angle=lambda a, b: torch.acos(a @ b / (a.norm() * b.norm())), swap=False, scale=1.0):
    """An answer to exercise 5.2; the defaults give a right one."""

    def answer(a, b, t):
        theta, t = angle(a, b), 1 - t if swap else t
        return scale * (torch.sin((1 - t) * theta) * a + torch.sin(t * theta) * b) / torch.sin(theta)

    return answer


def arc_by_rotation(a, b, t):
    """Gram-Schmidt: the part of b that is perpendicular to a, and a rotation by t times the angle."""
    e, f = a / a.norm(), b / b.norm()
    side = f - (e @ f) * e
    theta = torch.atan2(side.norm(), e @ f)
    return a.norm() * (torch.cos(t * theta) * e + torch.sin(t * theta) * side / side.norm())


CASES["5.2"] = (
    [arc(), arc_by_rotation],
    [
        (lambda a, b, t: (1 - t) * a + t * b, "straight line, whose norm falls"),
        (arc(swap=True), "exchange the two weights"),
        (arc(scale=0.1), "of norm 1; a and b have another"),
        (lambda a, b, t: 10 * torch.nn.functional.normalize((1 - t) * a + t * b, dim=0), "pushed back"),
        (arc(lambda a, b: torch.acos(a @ b / (a.norm() * b.norm())).rad2deg()), "in radians"),
        (arc(lambda a, b: torch.tensor(math.pi / 2)), "perpendicular a and b only"),
        (lambda a, b, t: 0.0, "must return a tensor"),
    ],
)


CASES["5.3"] = (
    [
        lambda losses, sizes: sum(x * n for x, n in zip(losses, sizes, strict=True)) / sum(sizes),
        lambda losses, sizes: torch.tensor(losses).repeat_interleave(torch.tensor(sizes)).double().mean(),
    ],
    [
        (lambda losses, sizes: losses[-1], "last batch alone"),
        (lambda losses, sizes: sum(losses) / len(losses), "weight by size"),
        (
            lambda losses, sizes: sum(x * n for x, n in zip(losses, sizes, strict=True)) / len(sizes),
            "number of batches",
        ),
        (lambda losses, sizes: sum(x * n for x, n in zip(losses, sizes, strict=True)), "sum over the images"),
        (lambda losses, sizes: 0, "have mean 0.000"),
        (lambda losses, sizes: None, "returned None; return one number"),
    ],
)
