"""Checks of notebook 01: the best discriminator, the saturating gradient, a step of the two players."""

import math

import torch

from labutils.exercises.answer import Exercise
from labutils.exercises.expect import Wrong, expect, expect_number, expect_tensor, kind, shown


class best_discriminator(Exercise, number="1.1"):
    """answer(x (N,)) -> D*(x) (N,) for p_data = N(0, 1) and p_g = N(1, 2^2)."""

    def cases(self):
        return [{"x": torch.linspace(-5, 5, 41)}, {"x": torch.linspace(-3, 4, 15, dtype=torch.float64)}]

    def judge(self, case, seen):
        x = case["x"]
        out = expect_tensor(seen["out"], x.shape)
        real, fake = torch.exp(-(x**2) / 2), torch.exp(-((x - 1) ** 2) / 8)  # without their common 1 / sqrt(2 pi)
        right = real / (real + fake / 2)
        mistakes = [
            (1 - right, "That is the probability that x is fake: the numerator is p_data."),
            (2 * real / fake, "That is the ratio p_data / p_g, which exceeds 1: divide by p_data + p_g."),
            (
                real / (real + fake),
                "A Gaussian density has the factor 1 / deviation in front; here it does not cancel.",
            ),
            (real / (real + torch.exp(-((x - 1) ** 2) / 32) / 4), "N(1, 2^2) has deviation 2; 4 is its variance."),
            (real / (real + torch.exp(-((x + 1) ** 2) / 8) / 2), "The mean of the fakes is 1, not -1."),
        ]
        names = [f"x = {value:.2f}" for value in x.tolist()]
        expect(out, right, mistakes, "At {at} your D is {seen}; expected {expected}.", names=names)


class saturating_gradient(Exercise, number="1.2"):
    """answer(logits (N,)) -> d/dl log(1 - sigmoid(l)) at each logit, (N,)."""

    def cases(self):
        return [{"logits": torch.linspace(-6, 6, 25)}, {"logits": torch.tensor([-2.0, 0.5, 3.0], dtype=torch.float64)}]

    def judge(self, case, seen):
        logits = case["logits"]
        out, d = expect_tensor(seen["out"], logits.shape), torch.sigmoid(logits)
        mistakes = [
            (d, "The sign is wrong: the loss falls when the logit rises."),
            (d - 1, "That is the gradient of the non-saturating loss, -log sigmoid(l)."),
            (-1 / (1 - d), "That is the derivative with respect to D: multiply by dD/dl = D (1 - D)."),
            (d * (1 - d), "That is the derivative of the sigmoid alone: the logarithm has one too."),
            ((1 - d).log(), "That is the loss itself; its derivative with respect to the logit is wanted."),
            (-d / len(d), "You divided by the number of logits: each logit's own gradient is wanted, not a mean's."),
        ]
        names = [f"the logit {value:g}" for value in logits.tolist()]
        expect(out, -d, mistakes, "At {at} you return {seen}; expected {expected}.", names=names)


class nonsaturating_step(Exercise, number="1.3"):
    """answer(theta, psi, h) -> (theta, psi) after D's step on V and G's answer on -log sigmoid(psi theta)."""

    def cases(self):
        return [dict(zip(("theta", "psi", "h"), each, strict=True)) for each in ((1.5, 0.8, 0.2), (-0.7, 1.2, 0.1))]

    def judge(self, case, seen):
        def sigmoid(t):
            return 1 / (1 + math.exp(-t))

        (theta, psi, h), out = case.values(), seen["out"]
        if isinstance(out, torch.Tensor) and out.numel() == 2:
            out = out.flatten().tolist()
        if not isinstance(out, list) or len(out) != 2:
            raise Wrong(f"Your function returned {shown(out)}, a {kind(out)}; return the two numbers (theta, psi).")
        out = list(map(expect_number, out))
        new = psi - h * theta * sigmoid(psi * theta)
        right = [theta + h * new * (1 - sigmoid(new * theta)), new]
        down = [out[0], 2 * psi - new]  # wherever theta goes from there
        first = theta + h * psi * (1 - sigmoid(psi * theta))
        mistakes = [
            (right[::-1], "The order is (theta, psi)."),
            ([first, new], "Those are simultaneous steps: G must see the new psi."),
            ([first, psi - h * first * sigmoid(psi * first)], "G moved first: D moves first, and G answers."),
            ([theta + h * new * sigmoid(new * theta), new], "That is G's step on the saturating loss."),
            ([2 * theta - right[0], new], "G went uphill on its loss: subtract h times the gradient."),
            (down, "D went downhill on V: add h times the gradient, which is -theta sigmoid(psi theta)."),
        ]
        otherwise = f"From ({theta}, {psi}) with h = {h} your {{at}} becomes {{seen}}; expected {{expected}}."
        expect(out, right, mistakes, otherwise, atol=1e-6, rtol=0, names=["theta", "psi"])
