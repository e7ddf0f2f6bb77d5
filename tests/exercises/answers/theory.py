"""Right and wrong answers to the exercises of notebook 01."""

import functools
import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from labutils import losses

CASES = {}  # number -> (right answers, wrong ones with their sentences)
NEAR = {}  # number -> answers that are only nearly right, with their sentences


def by_softplus(logits):
    return -F.softplus(logits).mean()


def nonsaturating_by_loop(logits):
    total = 0
    for logit in logits:
        total = total - torch.log(1 / (1 + torch.exp(-logit)))
    return total / len(logits)


def nonsaturating_by_bce(logits):
    return nn.BCELoss()(torch.sigmoid(logits), torch.ones_like(logits))


def saturating(logits):
    return (1 - torch.sigmoid(logits)).log().mean()


def nonsaturating(logits):
    return -torch.sigmoid(logits).log().mean()


CASES["1.1"] = (  # an answer is a pair of functions
    [
        (saturating, nonsaturating),
        (by_softplus, nonsaturating_by_bce),
        (lambda logits: -nn.BCEWithLogitsLoss()(logits, torch.zeros_like(logits)), nonsaturating_by_loop),
        (losses.saturating_generator_loss, losses.generator_loss),
        (lambda logits: saturating(logits.double()), lambda logits: -F.logsigmoid(logits).mean(dim=0)),
    ],
    [
        ((nonsaturating, saturating), "The saturating loss is the other one"),
        ((lambda logits: -saturating(logits), nonsaturating), "The saturating loss has the wrong sign"),
        ((saturating, lambda logits: -nonsaturating(logits)), "The non-saturating loss has the wrong sign"),
        ((lambda logits: len(logits) * saturating(logits), nonsaturating), "The saturating loss is the sum"),
        ((saturating, lambda logits: nonsaturating(logits) / math.log(2)), "The non-saturating loss is in bits"),
        ((saturating, lambda logits: nonsaturating(logits) / math.log(10)), "is to base 10"),
        ((saturating, lambda logits: -torch.sigmoid(logits).log()), "The non-saturating loss is shape (3, 1)"),
        ((lambda logits: (1 - torch.sigmoid(logits)).mean(), nonsaturating), "has no logarithm"),
        ((lambda logits: (1 - logits).log().mean(), nonsaturating), "it is -inf; expected -0.6850"),
        ((saturating, lambda logits: logits.undefined), "raised AttributeError"),
    ],
)
NEAR["1.1"] = [
    (
        (functools.partial(F.binary_cross_entropy_with_logits, target=torch.zeros(1, 1)), nonsaturating),
        "your code raised ValueError: Target size",
    ),
    ((saturating, lambda logits: -torch.sigmoid(logits).mean().log()), "takes the mean before the logarithm"),
    ((lambda logits: saturating(logits).detach(), nonsaturating), "carries no gradient"),
    ((lambda logits: saturating(logits) + 0j, nonsaturating), "cannot be used"),
    ((saturating, lambda logits: torch.tensor(nonsaturating(logits).item(), requires_grad=True)), "no gradient"),
    ((saturating, lambda logits: nonsaturating(logits) * 1.001), "it is 1.3530; expected 1.3517"),
    ((lambda logits: saturating(logits.clamp(-2, 2)), nonsaturating), "saturating loss: for the logits -3, 0, 1"),
]


def gradient_by_autograd(logits):
    logits = logits.clone().requires_grad_()
    return torch.autograd.grad(torch.log(1 - torch.sigmoid(logits)).sum(), logits)[0]


CASES["1.2"] = (
    [
        lambda logits: -torch.sigmoid(logits),
        gradient_by_autograd,
        lambda logits: -1 / (1 + torch.exp(-logits)),
        lambda logits: torch.stack([-torch.sigmoid(logit) for logit in logits]),
    ],
    [
        (torch.sigmoid, "The sign is wrong"),
        (lambda logits: torch.sigmoid(logits) - 1, "non-saturating"),
        (lambda logits: -1 / (1 - torch.sigmoid(logits)), "with respect to D"),
        (lambda logits: torch.sigmoid(logits) * torch.sigmoid(-logits), "the sigmoid alone"),
        (lambda logits: torch.log(1 - torch.sigmoid(logits)), "the loss itself"),
        (lambda logits: -torch.sigmoid(logits) / len(logits), "divided by the number"),
        (torch.zeros_like, "At the logit 6 you return 0.0000; expected -0.9975."),
        (lambda logits: -0.5, "must return a tensor"),
    ],
)
NEAR["1.2"] = [
    (lambda logits: -torch.sigmoid(logits.clamp(-4, 4)), "At the logit"),
    (lambda logits: -torch.sigmoid(logits).round(decimals=2), "At the logit"),
    (lambda logits: -torch.sigmoid(logits.requires_grad_()), "changes requires_grad of logits"),
    (lambda logits: -torch.sigmoid(logits).half(), "At the logit 4.5 you return -0.9888; expected -0.9890."),
]


def by_odds(p, q):
    return torch.where(p > 0, 1 / (1 + q / p), 0.0)


def by_search(p, q):
    return torch.stack([torch.tensor(0.0) if a == 0 else a / (a + b) for a, b in zip(p, q, strict=True)])


CASES["1.3"] = (
    [
        lambda p, q: p / (p + q),
        lambda p, q: 1 - q / (p + q),
        by_odds,
        by_search,
        lambda p, q: torch.exp(p.log() - torch.logaddexp(p.log(), q.log())),
    ],
    [
        (lambda p, q: q / (p + q), "the numerator is p_data"),
        (lambda p, q: p / q, "divide by p_data + p_g"),
        (lambda p, q: p, "the density of the data alone"),
        (lambda p, q: p + q, "sum of both densities"),
        (lambda p, q: p**2 / (p**2 + q**2), "are squared"),
        (lambda p, q: (p > q).float(), "0 or 1 only"),
        (lambda p, q: torch.sigmoid(p - q), "no share"),
        (lambda p, q: torch.full_like(p, 0.5), "your D is 0.5000; expected 0.7500"),
        (lambda p, q: 0.5, "must return a tensor"),
        (lambda p, q: (p / (p + q))[:, None], "the shape (3, 1); expected (3,)"),
    ],
)
NEAR["1.3"] = [
    (lambda p, q: p / (p + q + 0.01), "At p_data = 0.3, p_g = 0.1 your D is 0.7317; expected 0.7500."),
    (lambda p, q: p / (p.sum() + q.sum()), "each x has a share of its own"),
    (lambda p, q: 1 / (1 + q / p) if (p > 0).all() else torch.full_like(p, math.nan), "your D is nan; expected 0.0000"),
    (lambda p, q: p.div_(p + q), "changes p, which belongs to the caller"),
    (lambda p, q: (p / (p + q)).clamp(0.01, 0.99), "your D is 0.9900; expected 1.0000"),
]


def dirac_step(
    order="D G", g_slope=lambda fooled: fooled - 1, d_sign=1, g_sign=-1, give=lambda theta, psi: (theta, psi)
):
    """An answer to exercise 1.3; the defaults give a right one."""

    def answer(theta, psi, h):
        old = psi
        for player in order.split():
            if player == "D":
                psi += d_sign * h * -theta / (1 + math.exp(-psi * theta))
            else:
                seen = old if player == "G_simultaneous" else psi
                theta += g_sign * h * seen * g_slope(1 / (1 + math.exp(-seen * theta)))
        return give(theta, psi)

    return answer


def dirac_by_autograd(theta, psi, h):
    theta, psi = (torch.tensor(t, dtype=torch.float64, requires_grad=True) for t in (theta, psi))
    psi = psi + h * torch.autograd.grad(torch.log(1 - torch.sigmoid(psi * theta)), psi)[0]
    return theta + h * torch.autograd.grad(torch.log(torch.sigmoid(psi * theta)), theta)[0], psi


CASES["1.4"] = (
    [
        dirac_step(),
        dirac_by_autograd,
        dirac_step(give=lambda *both: list(both)),
        dirac_step(give=lambda *both: torch.tensor(both, dtype=torch.float64)),
        dirac_step(give=lambda *both: np.array(both)),
        dirac_step(give=lambda *both: tuple(torch.tensor([one], dtype=torch.float64) for one in both)),
    ],
    [
        (dirac_step(give=lambda theta, psi: (psi, theta)), "The order is (theta, psi)"),
        (dirac_step("D G_simultaneous"), "G must see the new psi"),
        (dirac_step("G D"), "G moved first"),
        (dirac_step(g_slope=lambda fooled: -fooled), "saturating loss"),
        (dirac_step(g_sign=1), "G went uphill"),
        (dirac_step(d_sign=-1), "D went downhill"),
        (dirac_step("D"), "your theta becomes 1.5000; expected 1.5340"),
        (dirac_step(give=lambda theta, psi: theta), "return the two numbers"),
    ],
)
NEAR["1.4"] = [
    (dirac_step(give=lambda theta, psi: (round(theta, 3), psi)), "your theta becomes 1.5340"),
    (dirac_step(give=lambda theta, psi: (theta, math.nan)), "your psi becomes nan"),
    (dirac_step(give=lambda theta, psi: (theta, psi, 0.0)), "return the two numbers"),
    (dirac_step(give=lambda theta, psi: ([theta], [psi])), "As theta your function returned [1.53"),
]
