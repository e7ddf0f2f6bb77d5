"""Checks of notebook 01: both losses of G, a gradient, the best discriminator, a step of the two players."""

import math

import torch
from torch.nn.functional import logsigmoid

from labutils.exercises.answer import Exercise
from labutils.exercises.expect import Wrong, expect, expect_number, expect_tensor, kind, listed, shown


class generator_losses(Exercise, number="1.1"):
    """Two functions, saturating and non-saturating: fake_logits (N, 1) -> the loss of G, a scalar tensor."""

    takes = 2

    def cases(self):
        drawn = torch.randn(7, 1, generator=torch.Generator().manual_seed(11))
        return [{"logits": logits} for logits in (torch.tensor([[-3.0], [0.0], [1.0]]), torch.tensor([[2.0]]), drawn)]

    def perform(self, answer, case):
        seen = {}
        for name, function in zip(("saturating", "non-saturating"), answer, strict=True):
            logits = case["logits"].clone().requires_grad_()
            out, gradient = function(logits), None
            if isinstance(out, torch.Tensor) and out.numel() == 1 and out.requires_grad:
                (gradient,) = torch.autograd.grad(out, logits, allow_unused=True)
            seen[name] = {"out": out, "gradient": gradient}
        return seen

    def judge(self, case, seen):
        logits = case["logits"].double()
        of = {"saturating": logsigmoid(-logits), "non-saturating": -logsigmoid(logits)}  # each logit's own loss
        gradients = {"saturating": -torch.sigmoid(logits), "non-saturating": -torch.sigmoid(-logits)}
        given = ", ".join(f"{value:.4g}" for value in logits.flatten().tolist())
        for name, each in of.items():
            out, right, other = seen[name]["out"], each.mean(), of["non-saturating" if name[0] == "s" else "saturating"]
            if not isinstance(out, torch.Tensor) or out.numel() != 1:
                what = f"shape {tuple(out.shape)}" if isinstance(out, torch.Tensor) else shown(out)
                raise Wrong(f"The {name} loss is {what}: return one number as a tensor, the mean over the batch.")
            late = each.exp().mean().log() if name == "saturating" else -(-each).exp().mean().log()
            mistakes = [
                (-right, "has the wrong sign: an optimiser makes it smaller, and G wants D(G(z)) large"),
                (other.mean(), "is the other one: exchange the two"),
                (-other.mean(), "is the other one, with the wrong sign"),
                (each.sum(), "is the sum over the batch: take the mean"),
                (right / math.log(2), "is in bits (base 2): use the natural logarithm"),
                (right / math.log(10), "is to base 10: use the natural logarithm"),
                (late, "takes the mean before the logarithm: the logarithm of each probability comes first"),
                ((1 - torch.sigmoid(logits)).mean(), "has no logarithm"),
            ]
            case_ = f"for the logits {given} it is {{seen}}; expected {{expected}}."
            mistakes = [(value, f"The {name} loss {reason} ({case_})") for value, reason in mistakes]
            expect(expect_number(out), right, mistakes, f"The {name} loss: {case_}", atol=1e-5)
            if seen[name]["gradient"] is None:
                raise Wrong(f"The {name} loss is right but carries no gradient: no .item(), .detach() or new tensor.")
            advice = f"The {name} loss is right, but its gradient is {{seen}} at {{at}}; expected {{expected}}."
            expect(seen[name]["gradient"], gradients[name] / len(logits), [], advice, atol=1e-5)


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
        expect(out, -d, mistakes, names=names)


class best_discriminator(Exercise, number="1.3"):
    """answer(p_data (N,), p_g (N,)) -> D*(x) (N,), from both densities at each x."""

    def cases(self):
        small = {"p_data": torch.tensor([0.5, 0.3, 0.8]), "p_g": torch.tensor([0.5, 0.1, 0.4])}
        ends = {"p_data": torch.tensor([0.0, 2.5]).double(), "p_g": torch.tensor([0.3, 0.0]).double()}
        x = torch.linspace(-3, 4, 15, dtype=torch.float64)
        return [small, ends, {"p_data": torch.exp(-(x**2) / 2), "p_g": torch.exp(-((x - 1) ** 2) / 8) / 2}]

    def judge(self, case, seen):
        p, q = case["p_data"], case["p_g"]
        out, right = expect_tensor(seen["out"], p.shape), p / (p + q)
        mistakes = [
            (1 - right, "That is the probability that x is fake: the numerator is p_data."),
            (p / q, "That is the ratio p_data / p_g, which can exceed 1: divide by p_data + p_g."),
            (p, "That is the density of the data alone: p_g must count too."),
            (p + q, "That is the sum of both densities: it belongs beneath the fraction."),
            (p**2 / (p**2 + q**2), "The densities are squared: solve a (1 - d) = b d for d once more."),
            ((p > q).to(p.dtype), "D answers 0 or 1 only: it returns a probability, the share of real samples at x."),
            (p / (p.sum() + q.sum()), "You divide by the sum over all x: each x has a share of its own."),
            (torch.sigmoid(p - q), "The sigmoid of the difference is no share: set the derivative to zero."),
        ]
        names = [f"p_data = {a:.3g}, p_g = {b:.3g}" for a, b in zip(p.tolist(), q.tolist(), strict=True)]
        expect(out, right, mistakes, "At {at} your D is {seen}; expected {expected}.", 1e-6, 1e-6, 1e-5, names)


class nonsaturating_step(Exercise, number="1.4"):
    """answer(theta, psi, h) -> (theta, psi) after D's step on V and G's answer on -log sigmoid(psi theta)."""

    def cases(self):
        return [dict(zip(("theta", "psi", "h"), each, strict=True)) for each in ((1.5, 0.8, 0.2), (-0.7, 1.2, 0.1))]

    def judge(self, case, seen):
        def sigmoid(t):
            return 1 / (1 + math.exp(-t))

        (theta, psi, h), out = case.values(), seen["out"]
        out = out if isinstance(out, list) else listed(out.flatten() if isinstance(out, torch.Tensor) else out)
        if not isinstance(out, list) or len(out) != 2:
            raise Wrong(f"Your function returned {shown(out)}, a {kind(out)}; return the two numbers (theta, psi).")
        out = [expect_number(one, f"As {name} your function") for name, one in zip(("theta", "psi"), out, strict=True)]
        new = psi - h * theta * sigmoid(psi * theta)
        right = [theta + h * new * (1 - sigmoid(new * theta)), new]
        first = theta + h * psi * (1 - sigmoid(psi * theta))
        mistakes = [
            (right[::-1], "The order is (theta, psi)."),
            ([first, new], "Those are simultaneous steps: G must see the new psi."),
            ([first, psi - h * first * sigmoid(psi * first)], "G moved first: D moves first, and G answers."),
            ([theta + h * new * sigmoid(new * theta), new], "That is G's step on the saturating loss."),
            ([2 * theta - right[0], new], "G went uphill on its loss: subtract h times the gradient."),
            ([out[0], 2 * psi - new], "D went downhill on V: add h times its gradient, -theta sigmoid(psi theta)."),
        ]
        otherwise = f"From ({theta}, {psi}) with h = {h} your {{at}} becomes {{seen}}; expected {{expected}}."
        expect(out, right, mistakes, otherwise, atol=1e-6, rtol=0, names=["theta", "psi"])
