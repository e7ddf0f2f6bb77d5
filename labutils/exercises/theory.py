"""Checks of notebook 01: the best discriminator, the saturating gradient, a step of the two players."""

import math
from collections.abc import Callable

import torch

from labutils.exercises.answer import Wrong, exercise, expect, expect_number, expect_tensor


@exercise("1.1")
def best_discriminator(answer: Callable) -> None:
    """answer(x (N,)) -> D*(x) (N,) for p_data = N(0, 1) and p_g = N(1, 2^2)."""
    x = torch.linspace(-5, 5, 41)
    out = expect_tensor(answer(x.clone()), x.shape, x.dtype)
    real, fake = torch.exp(-(x**2) / 2), torch.exp(-((x - 1) ** 2) / 8)  # without their common 1 / sqrt(2 pi)
    right = real / (real + fake / 2)
    mistakes = [
        (1 - right, "That is the probability that x is fake: the numerator is p_data."),
        (2 * real / fake, "That is the ratio p_data / p_g, which exceeds 1: divide by p_data + p_g."),
        (real / (real + fake), "A Gaussian density has the factor 1 / deviation in front; here it does not cancel."),
        (real / (real + torch.exp(-((x - 1) ** 2) / 32) / 4), "N(1, 2^2) has deviation 2; 4 is its variance."),
        (real / (real + torch.exp(-((x + 1) ** 2) / 8) / 2), "The mean of the fakes is 1, not -1."),
    ]
    expect(out, right, mistakes, f"At x = 0 your D is {out[20]:.4f}; expected {right[20]:.4f}.")


@exercise("1.2")
def saturating_gradient(answer: Callable) -> None:
    """answer(logits (N,)) -> d/dl log(1 - sigmoid(l)) at each logit, (N,)."""
    logits = torch.linspace(-6, 6, 25)
    out, d = expect_tensor(answer(logits.clone()), logits.shape, logits.dtype), torch.sigmoid(logits)
    mistakes = [
        (d, "The sign is wrong: the loss falls when the logit rises."),
        (d - 1, "That is the gradient of the non-saturating loss, -log sigmoid(l)."),
        (-1 / (1 - d), "That is the derivative with respect to D: multiply by dD/dl = D (1 - D)."),
        (d * (1 - d), "That is the derivative of the sigmoid alone: the logarithm has one too."),
        ((1 - d).log(), "That is the loss itself; its derivative with respect to the logit is wanted."),
        (-d / len(d), "You divided by the number of logits: each logit's own gradient is wanted, not that of a mean."),
    ]
    seen = f"At the logits 0 and 6 you return {out[12]:.4f} and {out[-1]:.4f}"
    expect(out, -d, mistakes, f"{seen}; expected -0.5000 and -0.9975.")


@exercise("1.3")
def nonsaturating_step(answer: Callable) -> None:
    """answer(theta, psi, h) -> (theta, psi) after D's step on V and G's answer on -log sigmoid(psi theta)."""

    def sigmoid(t):
        return 1 / (1 + math.exp(-t))

    for theta, psi, h in ((1.5, 0.8, 0.2), (-0.7, 1.2, 0.1)):
        out = answer(theta, psi, h)
        if not isinstance(out, tuple | list) or len(out) != 2:
            raise Wrong(f"Your function returned {out!r}; return the two numbers (theta, psi).")
        out = tuple(map(expect_number, out))
        new = psi - h * theta * sigmoid(psi * theta)
        right = (theta + h * new * (1 - sigmoid(new * theta)), new)
        down = (out[0], 2 * psi - new)  # wherever theta goes from there
        first = theta + h * psi * (1 - sigmoid(psi * theta))
        mistakes = [
            (right[::-1], "The order is (theta, psi)."),
            ((first, new), "Those are simultaneous steps: G must see the new psi."),
            ((first, psi - h * first * sigmoid(psi * first)), "G moved first: D moves first, and G answers."),
            ((theta + h * new * sigmoid(new * theta), new), "That is G's step on the saturating loss."),
            ((2 * theta - right[0], new), "G went uphill on its loss: subtract h times the gradient."),
            (down, "D went downhill on V: add h times the gradient, which is -theta sigmoid(psi theta)."),
        ]
        found, expected = (f"({a:.4f}, {b:.4f})" for a, b in (out, right))
        case = f"From ({theta}, {psi}) with h = {h} you reach {found}; expected {expected}."
        expect(out, right, mistakes, case, atol=1e-6, rtol=0)
