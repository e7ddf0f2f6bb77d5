"""Checks of notebook 03: counting the parameters of an MLP, and dropout by hand."""

import itertools
from collections.abc import Callable
from numbers import Number

import torch

from labutils.exercises.answer import Wrong, exercise, expect, expect_tensor, expect_unchanged


@exercise("3.1")
def mlp_parameters(answer: Callable) -> None:
    """answer(widths) -> the number of parameters of an MLP whose layers have these widths."""
    for widths in ([100, 256, 512, 1024, 784], [2, 3], [784, 1024, 512, 256, 1]):
        pairs = list(itertools.pairwise(widths))
        weights = sum(a * b for a, b in pairs)
        out, right = answer(list(widths)), weights + sum(widths[1:])
        mistakes = [
            (weights, "The biases are missing: each layer has one for every output."),
            (weights + len(pairs), "A layer has one bias for every output, not one in all."),
            (weights + sum(widths[:-1]), "Biases belong to the outputs of a layer, not to its inputs."),
            (weights + sum(widths), "The input has no bias: only the outputs of a layer have one."),
            (right - (widths[-2] + 1) * widths[-1], "The last layer is missing: n widths make n - 1 layers."),
        ]
        seen = f" For widths {widths} you counted {out:,}." if isinstance(out, Number) else ""
        otherwise = f"For widths {widths} you counted {out!r}; nn.Linear layers of these widths have {right:,}."
        expect(out, right, [(value, f"{reason}{seen}") for value, reason in mistakes], otherwise, atol=0, rtol=0)


@exercise("3.2")
def dropout(answer: Callable) -> None:
    """answer(x (N, units), p) -> x with each value dropped with probability p, the others divided by 1 - p."""
    x, p = torch.full((200, 500), 2.0), 0.3  # 100,000 values: the share kept is 0.7 within 0.0015
    given = x.clone()
    first, second = (expect_tensor(answer(given, p), x.shape, x.dtype) for _ in range(2))
    expect_unchanged(given, x, "multiply it by a mask, and return the product.")
    kept = first != 0
    share = kept.float().mean().item()
    if (kept == kept[0]).all():
        raise Wrong("Every row has the same mask: draw one random number for each value of x, torch.rand(x.shape).")
    if (kept == kept[:, :1]).all():
        raise Wrong("Whole rows are dropped: draw one random number for each value of x, torch.rand(x.shape).")
    seen = f"With p = 0.3 you keep {share:.3f} of the values"
    mistakes = [(p, f"{seen}: p is the share to drop, so keep 0.7.")]
    expect(share, 1 - p, mistakes, f"{seen}; expected about 0.7.", atol=0.01, rtol=0)
    scale = first[kept].mean().item() / 2
    mistakes = [(1, "The values kept are not scaled: divide by 1 - p, so that the mean stays the same.")]
    otherwise = f"The values kept are multiplied by {scale:.4f}; expected 1 / (1 - p) = {1 / (1 - p):.4f}."
    expect(scale, 1 / (1 - p), mistakes, otherwise, rtol=0)
    if torch.equal(first, second):
        raise Wrong("Two calls drop the same values: do not fix a seed inside the function.")
    if not torch.equal(answer(given, 0.0), x):
        raise Wrong("With p = 0 nothing is dropped: the result must be x.")
