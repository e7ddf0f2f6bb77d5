"""Checks of notebook 06: the size after a transposed convolution, sampling, and how uneven the digits are."""

import math
from collections.abc import Callable

import torch

from labutils.exercises.answer import Wrong, exercise, expect, expect_number, expect_tensor


@exercise("6.1")
def transposed_size(answer: Callable) -> None:
    """answer(size, kernel, stride, padding) -> the height that nn.ConvTranspose2d makes of `size`."""
    for size, kernel, stride, padding in ((7, 4, 2, 1), (14, 4, 2, 1), (1, 7, 1, 0), (5, 3, 2, 0), (4, 5, 3, 2)):
        out, right = answer(size, kernel, stride, padding), (size - 1) * stride - 2 * padding + kernel
        case = f"For size {size}, kernel {kernel}, stride {stride}, padding {padding} it is {out}; expected {right}."
        mistakes = [
            ((size + 2 * padding - kernel) // stride + 1, "This is the rule of Conv2d, which makes images smaller."),
            (size * stride - 2 * padding + kernel, "Between `size` stamps there are size - 1 strides."),
            ((size - 1) * stride + 2 * padding + kernel, "Padding cuts off here: subtract it."),
            ((size - 1) * stride - padding + kernel, "Padding is cut off at both sides: twice."),
            (size * stride, "True for kernel 4, stride 2, padding 1, but not in general."),
        ]
        expect(out, right, [(value, f"{case} {reason}") for value, reason in mistakes], case, atol=0, rtol=0)
        if not isinstance(out, int):
            raise Wrong(f"{case} The value is right but not an int: no `/`.")


@exercise("6.2")
def sample_quietly(answer: Callable) -> None:
    """answer(generator, z) -> its images in eval mode, without a gradient, the generator being left as it was."""
    generator = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4)).train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(3):
            generator(torch.randn(8, 4) + 1)  # running statistics that are not those of a new batch
        z = torch.randn(6, 4)
    before = {key: value.clone() for key, value in generator.state_dict().items()}
    for training in (True, False):
        generator.train(training)
        out = expect_tensor(answer(generator, z), z.shape, z.dtype)
        if any(not torch.equal(before[key], value) for key, value in generator.state_dict().items()):
            raise Wrong("Sampling changed the running statistics of batch norm: call generator.eval() before.")
        if out.requires_grad:
            raise Wrong("The images carry a graph, which costs memory: sample under torch.no_grad().")
        if generator.training != training:
            found, wanted = ("train", "eval") if generator.training else ("eval", "train")
            raise Wrong(f"The generator was in {wanted} mode and is in {found} mode now: restore the mode it had.")
        with torch.no_grad():
            right = generator.eval()(z)
        otherwise = "These are not the images of eval mode: batch norm must use its running statistics."
        expect(out, right, [], otherwise, atol=1e-6)


@exercise("6.3")
def class_kl(answer: Callable) -> None:
    """answer(counts (10,)) -> the KL divergence of their shares from even ones, in nats."""
    for counts in ([5, 10, 15, 20, 10, 10, 10, 10, 5, 5], [0, 30, 0, 0, 10, 0, 0, 0, 0, 0], [7] * 10, [0] * 9 + [12]):
        counts = torch.tensor(counts)
        out, shares = expect_number(answer(counts.clone())), counts.double() / counts.sum()
        right = float(torch.special.xlogy(shares, shares * 10).sum())
        if math.isnan(out):
            raise Wrong("A digit that never comes makes it NaN: 0 ln 0 counts as 0, so leave such digits out.")
        mistakes = [
            (right / math.log(2), "This is in bits (log to base 2); use the natural logarithm."),
            (float((0.1 * (0.1 / shares).log()).sum()), "The other way round: weight each logarithm by p, not by 0.1."),
            (math.log(10) - right, "This is the entropy; it is ln 10 minus the divergence."),
            (-right, "The sign is wrong: p stands above, 0.1 beneath."),
            (float(torch.special.xlogy(counts.double(), counts * 10.0).sum()), "Shares sum to 1: divide by the sum."),
            (right / 10, "Sum over the digits; the mean is a tenth of it."),
        ]
        otherwise = f"For the counts {counts.tolist()} it is {out:.4f}; expected {right:.4f}."
        expect(out, right, mistakes, otherwise, atol=1e-5, rtol=1e-4)
