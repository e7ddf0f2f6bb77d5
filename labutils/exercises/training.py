"""Checks of notebook 05: the generator's loss, a walk on the sphere, and the mean of an epoch."""

import math
from collections.abc import Callable

import torch

from labutils.exercises.answer import Wrong, exercise, expect, expect_number, expect_tensor


@exercise("5.1")
def generator_step_loss(answer: Callable) -> None:
    """answer(probabilities (N, 1)) -> the non-saturating loss -E[log D(G(z))], a scalar tensor."""
    probabilities = torch.tensor([[0.5], [0.1], [0.8]], requires_grad=True)
    logs, complement = probabilities.log(), (1 - probabilities).log()
    out = answer(probabilities)
    if not isinstance(out, torch.Tensor) or out.numel() != 1:
        raise Wrong("Return one number as a tensor, the mean over the batch.")
    loss, right = expect_number(out), -logs.mean().item()
    mistakes = [
        (-right, "The sign is wrong: an optimiser makes its loss smaller, so G would make D(G(z)) smaller."),
        (complement.mean(), "This is the saturating loss, log(1 - D(G(z))); the original report trains the other one."),
        (-complement.mean(), "This is D's loss on fakes, label 0; G wants the label 1 for them."),
        (-logs.sum(), "This is the sum over the batch; take the mean, or the step grows with the batch."),
        (right / math.log(2), "This is in bits (log to base 2); use the natural logarithm: at D = 1/2, ln 2."),
        (right / math.log(10), "This is to base 10; use the natural logarithm: at D = 1/2 the loss is ln 2."),
    ]
    otherwise = f"For D(G(z)) = 0.5, 0.1, 0.8 the loss is {loss:.4f}; expected {right:.4f}."
    expect(loss, right, mistakes, otherwise, atol=1e-5)
    if not out.requires_grad:
        raise Wrong("The value is right but carries no gradient: no .item(), .detach() or torch.tensor(...) inside.")


@exercise("5.2")
def slerp(answer: Callable) -> None:
    """answer(a (D,), b (D,), t) -> the point at t on the arc of the sphere from a to b."""
    a, b = torch.zeros(2, 100)
    a[0], b[1] = 10.0, 10.0
    start, name = expect_tensor(answer(a, b, 0.0), a.shape, a.dtype), "At t = 0 it"
    swapped = (b, f"{name} is b; the walk must start at a: exchange the two weights.")
    expect(start, a, [swapped], f"{name} must be a, of norm 10, but the norm there is {start.norm():.2f}.", atol=1e-3)
    for name, t in (("1/3", 1 / 3), ("1/2", 1 / 2)):
        out, line = expect_tensor(answer(a, b, t), a.shape, a.dtype), (1 - t) * a + t * b
        right = a * math.cos(t * math.pi / 2) + b * math.sin(t * math.pi / 2)
        on_sphere = line * 10 / line.norm()
        straight = "This is the straight line"
        mistakes = [
            (line, f"{straight}: in the middle the norm falls from 10 to 7.07. Use the two sines."),
            (on_sphere, f"{straight} pushed back to the sphere: its steps are not equal. Use the two sines."),
        ]
        otherwise = (
            f"Between perpendicular a and b of norm 10, at t = {name}, it is {out[0]:.2f} a/10 + {out[1]:.2f} b/10; "
            f"expected {right[0]:.2f} and {right[1]:.2f}. Is theta the angle in radians, from the cosine of a and b?"
        )
        expect(out, right, mistakes, otherwise, atol=1e-3)
    far = a / 2 + b * math.sqrt(3) / 2  # 60 degrees from a
    halfway = (a + far) / math.sqrt(3)  # on the arc, since half of 60 degrees has the cosine sqrt(3) / 2
    otherwise = "It is right for perpendicular a and b only: the angle must be computed from them."
    expect(answer(a, far, 0.5), halfway, [], otherwise, atol=1e-3)


@exercise("5.3")
def epoch_mean(answer: Callable) -> None:
    """answer(losses, sizes) -> the mean in which each image counts once."""
    losses, sizes = [1.0, 3.0, 8.0], [128, 128, 64]
    out = expect_number(answer(losses, sizes))
    mistakes = [
        (8.0, "This is the last batch alone, the original report's way; an epoch has all its batches."),
        (4.0, "Every batch counts the same here, but the last one has half as many images: weight by size."),
        (1024 / 3, "You divide by the number of batches; divide by the number of images."),
        (1024.0, "This is the sum over the images; divide by how many there are."),
    ]
    otherwise = f"Losses 1, 3, 8 of batches of 128, 128, 64 have mean {out:.3f}; expected 3.2."
    expect(out, 3.2, mistakes, otherwise, atol=1e-6, rtol=0, near=1e-3)
