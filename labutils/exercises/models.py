"""Checks of notebook 03: counting the parameters of an MLP, and dropout by hand."""

import itertools

import torch

from labutils.exercises.answer import Exercise
from labutils.exercises.expect import Wrong, expect, expect_tensor, shown


class mlp_parameters(Exercise, number="3.1"):
    """answer(widths) -> the number of parameters of an MLP whose layers have these widths."""

    may_change = frozenset({"random"})  # whoever builds the layers to count them draws their weights

    def cases(self):
        return [{"widths": widths} for widths in ([2, 3], [100, 256, 512, 1024, 784], [784, 1024, 512, 256, 1])]

    def judge(self, case, seen):
        widths, out = case["widths"], seen["out"]
        pairs = list(itertools.pairwise(widths))
        weights = sum(a * b for a, b in pairs)
        right = weights + sum(widths[1:])
        mistakes = [
            (weights, "The biases are missing: each layer has one for every output."),
            (weights + len(pairs), "A layer has one bias for every output, not one in all."),
            (weights + sum(widths[:-1]), "Biases belong to the outputs of a layer, not to its inputs."),
            (weights + sum(widths), "The input has no bias: only the outputs of a layer have one."),
            (right - (widths[-2] + 1) * widths[-1], "The last layer is missing: n widths make n - 1 layers."),
        ]
        case = f"For widths {widths} you counted {shown(out)}; nn.Linear layers of these widths have {right:,}."
        expect(out, right, [(value, f"{reason} {case}") for value, reason in mistakes], case, atol=0, rtol=0)


class dropout(Exercise, number="3.2"):
    """answer(x (N, units), p) -> x with each value dropped with probability p, the others divided by 1 - p."""

    may_change = frozenset({"random"})

    def cases(self):  # 100,000 values: the share kept is 0.7 within 0.0015
        return [{"rows": 200, "units": 500, "p": p} for p in (0.3, 0.6, 0.0)]

    def perform(self, answer, case):
        x = torch.full((case["rows"], case["units"]), 2.0)
        return {"outs": [answer(x, case["p"]) for _ in range(2)]}

    def judge(self, case, seen):
        p, shape = case["p"], (case["rows"], case["units"])
        first, second = (expect_tensor(out, shape, torch.float32) for out in seen["outs"])
        if p == 0:
            return expect(first, torch.full(shape, 2.0), [], "With p = 0 nothing is dropped: the result must be x.")
        kept = first != 0
        share, wanted = kept.float().mean().item(), 1 - p
        seen = f"With p = {p} you keep {share:.3f} of the values"
        if torch.equal(first, torch.full(shape, 2.0)):
            raise Wrong(f"Nothing was dropped: that is x as it was. With p = {p} about {p:.0%} become 0.")
        if 0 < share < 1 and (kept == kept[0]).all():
            raise Wrong("Every row has the same mask: draw one random number for each value of x, torch.rand(x.shape).")
        if 0 < share < 1 and (kept == kept[:, :1]).all():
            raise Wrong("Whole rows are dropped: draw one random number for each value of x, torch.rand(x.shape).")
        mistakes = [(p, f"{seen}: p is the share to drop, so keep {wanted:g}.")]
        expect(share, wanted, mistakes, f"{seen}; expected about {wanted:g}.", atol=0.01, rtol=0)
        scales = first[kept] / 2
        mistakes = [
            (torch.ones_like(scales), "The values kept are not scaled: divide by 1 - p, so that the mean stays."),
            (torch.full_like(scales, 1 / p), "The values kept are divided by p: divide by 1 - p, the share kept."),
        ]
        otherwise = f"A value kept is multiplied by {{seen}}; expected 1 / (1 - p) = {1 / wanted:.4f}."
        expect(scales, torch.full_like(scales, 1 / wanted), mistakes, otherwise, rtol=0, atol=1e-3)
        if torch.equal(first, second):
            raise Wrong("Two calls drop the same values: do not fix a seed inside the function.")
