"""Checks of notebook 08: a truncated normal distribution, and a GAN that is told the digit."""

import math

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torch.special import ndtr, ndtri

from labutils.exercises.answer import Exercise
from labutils.exercises.expect import Wrong, expect, expect_tensor, kind


class truncated(Exercise, number="8.1"):
    """answer(u, threshold) -> z of the same shape: N(0, 1) given |z| <= threshold, rising with u in (0, 1)."""

    def cases(self):
        u = torch.tensor([0.5, 0.02, 0.2, 0.7, 0.98])
        drawn = torch.rand(3, 4, generator=torch.Generator().manual_seed(81)) * 0.98 + 0.01
        return [{"u": each, "threshold": t} for each in (u, drawn) for t in (1.0, 0.5, 2.0, math.inf)]

    def judge(self, case, seen):
        u, t = case["u"].double(), case["threshold"]
        out = expect_tensor(seen["out"], u.shape)
        whole, edge = ndtri(u), ndtr(torch.tensor(t, dtype=torch.float64))
        right = ndtri(1 - edge + u * (2 * edge - 1))
        mistakes = [
            (whole, "That is not truncated: some lie beyond the threshold."),
            (whole.clamp(-t, t), "What lies outside was moved onto the edges: there it would be far too frequent."),
            (-right, "z must rise with u."),
            (ndtri(u * (2 * edge - 1)), "The lowest u must give the lower edge: add what lies below it, 1 - ndtr(t)."),
            (ndtri(u * edge), "That cuts the upper side only: what lies below -threshold is still there."),
            (whole * min(t, 9), "That is narrower, but has no edge: some lie beyond the threshold."),
            ((2 * u - 1) * min(t, 9), "That is uniform between the edges: the middle must be more frequent."),
        ]
        names = [f"u = {x:.3f}, threshold = {t:g}," for x in u.flatten().tolist()]
        expect(out, right, mistakes, "At {at} z is {seen}; expected {expected}.", atol=2e-3, names=names)
        expect_tensor(out, u.shape, torch.float32)  # as a generator takes it


class conditioning(Exercise, number="8.2"):
    """join_noise(z (N, 100), labels) -> (N, 110); join_images(x (N, 1, 28, 28), labels) -> (N, 11, 28, 28)."""

    takes = 2
    advice = (("Sizes of tensors must match except in dimension 0", "Dimension 0 is the batch: join along 1."),)

    def cases(self):
        draw, cases = torch.Generator().manual_seed(73), []
        for labels in ([7, 0, 3, 3, 9], [2, 5, 1], [4]):
            z = torch.randn(len(labels), 100, generator=draw)
            x = torch.rand(len(labels), 1, 28, 28, generator=draw) * 2 - 1
            cases.append({"z": z, "x": x, "labels": torch.tensor(labels)})
        return cases

    def perform(self, answer, case):
        join_noise, join_images = answer
        x, labels = case["x"].requires_grad_(), case["labels"]
        images = join_images(x, labels)
        graph = isinstance(images, Tensor) and images.requires_grad
        return {"noise": join_noise(case["z"], labels), "images": images, "graph": graph}

    def judge(self, case, seen):
        z, x, labels = case.values()
        n, out = len(labels), seen["noise"]
        advice = "The label is no quantity, 7 is not more than 3: one-hot, ten numbers."
        _expect_shape(out, (n, 110), "join_noise", (n, 101), advice)
        _expect_code(_joined_to(z, out), labels, "join_noise", "z")
        out = seen["images"]
        advice = "One channel for each digit: a label is no quantity."
        _expect_shape(out, (n, 11, 28, 28), "join_images", (n, 2, 28, 28), advice)
        channels = _joined_to(x, out)
        if channels is not None and (channels != channels[:, :, :1, :1]).any():
            raise Wrong("The channels of the label differ from pixel to pixel: D must know it everywhere: fill them.")
        _expect_code(None if channels is None else channels[:, :, 0, 0], labels, "join_images", "x")
        if not seen["graph"]:
            raise Wrong("No gradient reaches x any more, so G would learn nothing: no .detach(), .data or no_grad.")


def _expect_shape(out, shape: tuple, name: str, as_number: tuple, advice: str) -> None:
    """Raise Wrong unless `out` is a tensor of this shape; `advice` is for the shape that a label as a number gives."""
    found = tuple(out.shape) if isinstance(out, Tensor) else kind(out)
    if found != shape:
        raise Wrong(f"{name} returned {found}; expected {shape}." + f" {advice}" * (found == as_number))
    expect_tensor(out, shape, torch.float32, name)


def _joined_to(given: Tensor, out: Tensor) -> Tensor | None:
    """The ten columns or channels that `out` has before or after `given`; None if it does not hold `given`."""
    sides = ((out[:, -10:], out[:, :-10]), (out[:, :10], out[:, 10:]))
    return next((label for label, rest in sides if torch.equal(rest, given)), None)


def _expect_code(code: Tensor | None, labels: Tensor, name: str, what: str) -> None:
    """Raise Wrong if `code` (N, 10) does not say each of the labels, by one value that is above nine equal ones."""
    if code is None:
        raise Wrong(f"{name} must hold {what} unchanged, before or after the label.")
    code = code.float()
    low, high = code.aminmax()
    if low == high:
        raise Wrong(f"{name} says the same for every label: mark the place of the label.")
    if len(labels) > 1 and (code[:1] == code).all():
        raise Wrong(f"{name} gives every sample the label of the first: each has its own.")
    if torch.equal(code, low + (high - low) * one_hot(9 - labels, 10).float()):
        raise Wrong(f"{name} counts the places from the end: digit 0 is the first.")
    if not torch.equal(code, torch.where(one_hot(labels, 10).bool(), high, low)):
        raise Wrong(f"{name} does not hold a one-hot label: ten numbers, one of them high, at the label's place.")
