"""Right and wrong answers to the exercises of notebook 01."""

import math

import torch

CASES = {}  # number -> (right answers, wrong ones with their sentences)


def gaussian(x, mean, deviation):
    return torch.exp(torch.distributions.Normal(mean, deviation).log_prob(x))


def best(fake=lambda x: gaussian(x, 1.0, 2.0), combine=lambda real, fake: real / (real + fake)):
    """An answer to exercise 1.1; the defaults give a right one."""
    return lambda x: combine(gaussian(x, 0.0, 1.0), fake(x))


CASES["1.1"] = (
    [best(), lambda x: torch.sigmoid(math.log(2) + (x - 1) ** 2 / 8 - x**2 / 2)],
    [
        (best(combine=lambda real, fake: fake / (real + fake)), "the numerator is p_data"),
        (best(combine=lambda real, fake: real / fake), "divide by p_data + p_g"),
        (best(lambda x: 2 * gaussian(x, 1.0, 2.0)), "1 / deviation"),
        (best(lambda x: gaussian(x, 1.0, 4.0)), "4 is its variance"),
        (best(lambda x: gaussian(x, -1.0, 2.0)), "is 1, not -1"),
        (lambda x: torch.full_like(x, 0.5), "At x = 5.00 your D is 0.5000; expected 0.0001."),
        (lambda x: 0.5, "must return a tensor"),
        (lambda x: x[:, None], "the shape (41, 1); expected (41,)"),
    ],
)


def gradient_by_autograd(logits):
    logits = logits.clone().requires_grad_()
    return torch.autograd.grad(torch.log(1 - torch.sigmoid(logits)).sum(), logits)[0]


CASES["1.2"] = (
    [lambda logits: -torch.sigmoid(logits), gradient_by_autograd],
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


CASES["1.3"] = (
    [dirac_step(), dirac_by_autograd, dirac_step(give=lambda *both: list(both))],
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
