"""Right and wrong answers to the exercises of notebook 08."""

import math

import torch
from torch.nn import functional as F
from torch.special import ndtr, ndtri

from labutils.quality import truncated

CASES = {}  # number -> (right answers, wrong ones with their sentences)
NEAR = {}  # number -> answers that are only nearly right, with their sentences


def edge(threshold):
    return ndtr(torch.tensor(threshold, dtype=torch.float64))


def by_error_function(u, threshold):
    most = math.erf(threshold / math.sqrt(2))
    return (math.sqrt(2) * torch.erfinv((2 * u.double() - 1) * most)).float()


def by_bisection(u, threshold):
    low, high = ndtr(torch.tensor([-threshold, threshold], dtype=torch.float64))
    wanted = low + u.double() * (high - low)
    a, b = torch.full_like(wanted, -9.0), torch.full_like(wanted, 9.0)
    for _ in range(60):
        middle = (a + b) / 2
        below = ndtr(middle) < wanted
        a, b = torch.where(below, middle, a), torch.where(below, b, middle)
    return a.float()


def one_by_one(u, threshold):
    width = 2 * edge(threshold) - 1
    return torch.stack([ndtri(1 - edge(threshold) + x * width) for x in u.double().flatten()]).view(u.shape).float()


def drawn_again(u, threshold):
    z = torch.randn(u.shape)
    while (outside := z.abs() > threshold).any():
        z[outside] = torch.randn(int(outside.sum()))
    return z


CASES["8.1"] = (
    [truncated, by_error_function, by_bisection, one_by_one],
    [
        (lambda u, t: ndtri(u), "not truncated"),
        (lambda u, t: ndtri(u).clamp(-t, t), "moved onto the edges"),
        (lambda u, t: -truncated(u, t), "must rise with u"),
        (lambda u, t: ndtri(u.double() * (2 * edge(t) - 1)), "must give the lower edge"),
        (lambda u, t: ndtri(u.double() * edge(t)), "cuts the upper side only"),
        (lambda u, t: truncated(u, t) + 0.05, "z is"),
        (lambda u, t: (2 * u - 1) * min(t, 9), "uniform between the edges"),
        (lambda u, t: truncated(u, t) * 1.01, "z is"),
        (drawn_again, "random"),
        (lambda u, t: truncated(u, t).tolist(), "must return a tensor"),
        (lambda u, t: truncated(u, t)[:1], "returned the shape"),
    ],
)


def one_hot(labels):
    return F.one_hot(labels, 10).float()


def planes(labels):
    return one_hot(labels)[:, :, None, None].expand(-1, -1, 28, 28)


def noise_joined(code=one_hot):
    return lambda z, labels: torch.cat([z, code(labels)], 1)


def images_joined(code=planes):
    return lambda x, labels: torch.cat([x, code(labels)], 1)


def filled_one_by_one(x, labels):
    out = torch.full((len(x), 11, 28, 28), -1.0)
    for i, label in enumerate(labels):
        out[i, label] = 1
    return torch.cat([out[:, :10], x], 1)


def in_a_corner(labels):
    marked = torch.zeros(len(labels), 10, 28, 28)
    marked[:, :, 0, 0] = one_hot(labels)
    return marked


def in_place(x, labels):
    x.data[:, 0, 0, 0] = 1.0
    return images_joined()(x.detach().requires_grad_(), labels)


CASES["8.2"] = (  # an answer is a pair of functions
    [
        (noise_joined(), images_joined()),
        (lambda z, labels: torch.cat([torch.eye(10)[labels] * 2 - 1, z], 1), filled_one_by_one),
        (noise_joined(lambda labels: F.one_hot(labels, 10)), filled_one_by_one),
        (noise_joined(lambda labels: torch.eye(10)[labels]), images_joined(lambda labels: planes(labels) * 2 - 1)),
    ],
    [
        ((noise_joined(lambda labels: labels[:, None].float()), images_joined()), "no quantity, 7 is not more than 3"),
        ((lambda z, labels: z, images_joined()), "join_noise returned (5, 100); expected (5, 110)"),
        ((lambda z, labels: noise_joined()(z * 0, labels), images_joined()), "must hold z unchanged"),
        ((noise_joined(lambda labels: torch.zeros(5, 10)), images_joined()), "the same for every label"),
        ((noise_joined(lambda labels: one_hot(labels[:1]).expand(5, -1)), images_joined()), "the label of the first"),
        ((noise_joined(lambda labels: one_hot(labels).flip(1)), images_joined()), "from the end"),
        (
            (noise_joined(lambda labels: torch.arange(10.0 * len(labels)).view(-1, 10)), images_joined()),
            "join_noise does not hold a one-hot label",
        ),
        ((noise_joined(), images_joined(lambda labels: planes(labels)[:, :1])), "One channel for each digit"),
        ((noise_joined(), lambda x, labels: x), "join_images returned (5, 1, 28, 28)"),
        ((noise_joined(), lambda x, labels: None), "join_images returned NoneType"),
        ((noise_joined(), images_joined(in_a_corner)), "differ from pixel to pixel"),
        ((noise_joined(), images_joined(lambda labels: planes(labels[:1].expand(5)))), "the label of the first"),
        ((noise_joined(), lambda x, labels: images_joined()(x.detach(), labels)), "No gradient reaches x"),
        ((noise_joined(), in_place), "changes x, which belongs to the caller"),
        ((noise_joined(), lambda x, labels: images_joined()(x + planes(labels)[:, :1], labels)), "hold x unchanged"),
    ],
)

NEAR["8.1"] = [  # right in the middle, for one threshold, or without truncation
    (lambda u, t: truncated(u, min(t, 1.5)), "z is"),
    (lambda u, t: truncated(u, t).double(), "the type torch.float64; expected torch.float32"),  # no generator takes it
    (lambda u, t: truncated(u.clamp(0.05, 0.95), t), "z is"),
    (lambda u, t: truncated(u, t) if t < 9 else u.double() * 0, "z is"),
    (lambda u, t: truncated(u.double() ** 1.02, t), "z is"),
]
NEAR["8.2"] = [  # right for a batch with a 9, for a label below 9, or for images but without gradient
    ((noise_joined(lambda labels: F.one_hot(labels).float()), images_joined()), "join_noise returned"),
    (
        (noise_joined(), images_joined(lambda labels: F.one_hot(labels)[:, :, None, None].expand(-1, -1, 28, 28))),
        "join_images",
    ),
    ((noise_joined(lambda labels: one_hot(labels.clamp(max=8))), images_joined()), "join_noise"),
    ((noise_joined(lambda labels: one_hot(labels).double()), images_joined()), "join_noise returned the type"),
    ((noise_joined(), images_joined(lambda labels: planes(labels).double())), "join_images returned the type"),
    ((noise_joined(), lambda x, labels: images_joined()(x.detach(), labels)), "No gradient reaches x"),
]
