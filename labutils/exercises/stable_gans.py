"""Checks of notebook 07: the average of a network's weights, smoothed labels, and a GAN that is told the digit."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from labutils.exercises.answer import Wrong, exercise, expect, expect_tensor


@exercise("7.1")
def average_step(answer: Callable) -> None:
    """answer(average, network, decay): average <- decay * average + (1 - decay) * network in place, with buffers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        average, network = (torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)) for _ in range(2))
        for _ in range(3):
            network(torch.randn(16, 3) + 1)
    for decay in (0.9, 0.5):
        before, there = ({k: v.clone() for k, v in net.state_dict().items()} for net in (average, network))
        try:
            answer(average, network, decay)
        except RuntimeError as error:
            if "requires grad" in str(error):
                raise Wrong("A weight cannot change in place while gradients are recorded: torch.no_grad().") from None
            if "Long" in str(error) or "long" in str(error) or "dtype" in str(error):
                raise Wrong("num_batches_tracked is a whole number, which has no such mean: copy it.") from None
            raise
        after = average.state_dict()
        if any(not torch.equal(value, there[key]) for key, value in network.state_dict().items()):
            raise Wrong("The network has changed: only the average must.")
        if all(torch.equal(after[key], value) for key, value in before.items()):
            raise Wrong("The average has not changed: write into its tensors, by copy_ or lerp_.")
        for key, a in before.items():
            out, b, buffer = after[key], there[key], "running" in key
            if key.endswith("num_batches_tracked") or (buffer and torch.allclose(out, b)):
                continue  # no mean is computed from the number; many programs take the newest statistics
            right, swapped = decay * a + (1 - decay) * b, (1 - decay) * a + decay * b
            where = "every tensor of state_dict() takes part"
            if buffer:
                where = "buffers are in state_dict(), not in parameters()"
            mistakes = [
                (a, f"{key} was forgotten: {where}."),
                (swapped, "decay and 1 - decay are exchanged: with 0.9 the average keeps nine tenths of itself."),
                (b, f"{key} is a copy of the network's: the old average must count too."),
            ]
            otherwise = f"{key} is not decay * average + (1 - decay) * network, with decay = {decay}."
            expect(out, right, mistakes, otherwise, atol=1e-6)


@exercise("7.2")
def best_smoothed(answer: Callable) -> None:
    """answer(p_data (N,), p_g (N,), a, b) -> D*(x) (N,) for the label a on real samples and b on fakes."""
    p_data, p_g = torch.tensor([0.5, 0.3, 0.0, 0.8]), torch.tensor([0.5, 0.1, 0.4, 0.0])
    total = p_data + p_g
    for a, b in ((0.9, 0.0), (0.9, 0.2), (1.0, 0.0)):
        out, right = expect_tensor(answer(p_data, p_g, a, b), total.shape, total.dtype), (a * p_data + b * p_g) / total
        mistakes = [
            (p_data / total, "That is the best D for the labels 1 and 0: the labels do not enter."),
            (a * p_data / total, "The label b of the fakes is missing: they pull D to b, with weight p_g."),
            ((b * p_data + a * p_g) / total, "The labels are exchanged: a belongs to p_data."),
            (1 - right, "That is the probability that x is fake."),
            (a * p_data / (a * p_data + (1 - b) * p_g), "Real samples have two terms, a log D + (1 - a) log(1 - D)."),
            (a * p_data + b * p_g, "Densities need not sum to 1 at a point: divide by p_data + p_g."),
        ]
        case = f"At equal densities, with a = {a}, b = {b}, your D is {out[0]:.3f}; expected {right[0]:.3f}."
        expect(out, right, mistakes, case)


@exercise("7.3")
def conditioning(join_noise: Callable, join_images: Callable) -> None:
    """join_noise(z (N, 100), labels) -> (N, 110); join_images(x (N, 1, 28, 28), labels) -> (N, 11, 28, 28)."""
    labels = torch.tensor([7, 0, 3, 3, 9])
    z, x = torch.randn(5, 100), torch.rand(5, 1, 28, 28) * 2 - 1
    given_z, given_x = z.clone(), x.clone().requires_grad_()
    out = join_noise(given_z, labels.clone())
    advice = "The label is no quantity, 7 is not more than 3: one-hot, ten numbers."
    _expect_shape(out, (5, 110), "join_noise", (5, 101), advice)
    _expect_code(_joined_to(z, out), labels, "join_noise", "z")
    out = join_images(given_x, labels.clone())
    advice = "One channel for each digit: a label is no quantity."
    _expect_shape(out, (5, 11, 28, 28), "join_images", (5, 2, 28, 28), advice)
    if not (torch.equal(given_z, z) and torch.equal(given_x.detach(), x)):
        raise Wrong("An input was changed in place: build a new tensor by torch.cat.")
    channels = _joined_to(x, out)
    if channels is not None and (channels != channels[:, :, :1, :1]).any():
        raise Wrong("The channels of the label differ from pixel to pixel: D must know it everywhere, so fill them.")
    _expect_code(None if channels is None else channels[:, :, 0, 0], labels, "join_images", "x")
    if not out.requires_grad:
        raise Wrong("No gradient reaches x any more, so G would learn nothing: no .detach(), .data or no_grad here.")


def _expect_shape(out, shape: tuple, name: str, as_number: tuple, advice: str) -> None:
    """Raise Wrong unless `out` is a tensor of this shape; `advice` is for the shape that a label as a number gives."""
    found = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
    if found != shape:
        raise Wrong(f"{name} returned {found}; expected {shape}." + f" {advice}" * (found == as_number))


def _joined_to(given: Tensor, out: Tensor) -> Tensor | None:
    """The ten columns or channels that `out` has before or after `given`; None if it does not hold `given`."""
    sides = ((out[:, -10:], out[:, :-10]), (out[:, :10], out[:, 10:]))
    return next((label for label, rest in sides if torch.equal(rest.detach(), given)), None)


def _expect_code(code: Tensor | None, labels: Tensor, name: str, what: str) -> None:
    """Raise Wrong if `code` (N, 10) does not say each of the labels, by one value that is above nine equal ones."""
    if code is None:
        raise Wrong(f"{name} must hold {what} unchanged, before or after the label.")
    code, (low, high) = code.detach().float(), code.detach().float().aminmax()
    if low == high:
        raise Wrong(f"{name} says the same for every label: mark the place of the label.")
    if (code[:1] == code).all():
        raise Wrong(f"{name} gives every sample the label of the first: each has its own.")
    if torch.equal(code, low + (high - low) * one_hot(9 - labels, 10).float()):
        raise Wrong(f"{name} counts the places from the end: digit 0 is the first.")
    if not torch.equal(code, torch.where(one_hot(labels, 10).bool(), high, low)):
        raise Wrong(f"{name} does not hold a one-hot label: ten numbers, one of them high, at the label's place.")
