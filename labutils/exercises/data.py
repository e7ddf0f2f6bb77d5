"""Checks of notebook 02: bytes to numbers and back, and batches in random order."""

import itertools
from collections.abc import Callable

import torch

from labutils.exercises.answer import Wrong, exercise, expect, expect_tensor, expect_unchanged


@exercise("2.1")
def normalise(answer: Callable) -> None:
    """answer(pixels uint8 (N, 28, 28)) -> float32 in [-1, 1], as ToTensor and Normalize((0.5,), (0.5,)) do."""
    pixels = torch.arange(2 * 28 * 28).remainder(256).to(torch.uint8).reshape(2, 28, 28)
    given = pixels.clone()
    out = expect_tensor(answer(given), pixels.shape, torch.float32)
    expect_unchanged(given, pixels, "work on a copy, such as pixels.float().")
    mistakes = [
        (pixels / 255, "The values lie in [0, 1]: that is ToTensor alone; Normalize((0.5,), (0.5,)) comes after it."),
        (pixels / 255 - 0.5, "The values lie in [-0.5, 0.5]: after subtracting 0.5, divide by 0.5."),
        ((pixels / 255 - 0.1307) / 0.3081, "That gives mean 0 and deviation 1; here the range [-1, 1] is wanted."),
    ]
    ends = ", ".join(f"{value:.4f}" for value in out.flatten()[[0, 128, 255]].tolist())
    otherwise = f"0, 128 and 255 become {ends}; they must become -1.0000, 0.0039, 1.0000."
    if (out.flatten()[:256].diff() < 0).any():
        otherwise = "A brighter pixel gets a smaller value somewhere: bytes wrap around, so convert to float first."
    expect(out, pixels.float() / 127.5 - 1, mistakes, otherwise, atol=1e-6, near=1e-3)


@exercise("2.2")
def to_pixels(answer: Callable) -> None:
    """answer(images float32 in about [-1, 1]) -> uint8 0..255, the inverse of exercise 2.1."""
    pixels = torch.arange(256).to(torch.uint8).reshape(1, 1, 16, 16)
    images = (pixels.float() / 255 - 0.5) / 0.5
    given = images.clone()
    out = expect_tensor(answer(given), images.shape, torch.uint8)
    expect_unchanged(given, images, "avoid in-place operations such as clamp_ on it.")
    lost = pixels.int() - out.int()
    if out.max() <= 1:
        raise Wrong("The result holds only 0 and 1: multiply by 255 before you convert to uint8.")
    if set(lost.unique().tolist()) == {0, 1}:
        raise Wrong(f"{int(lost.sum())} of 256 values come back one too small: uint8 cuts fractions off; round first.")
    if lost.any():
        raise Wrong(f"Of 256 byte values, {int((lost != 0).sum())} do not come back as they were.")
    beyond = answer(torch.tensor([-1.3, -1.02, 1.02, 1.3]).reshape(1, 1, 2, 2)).flatten().tolist()
    if beyond != [0, 0, 255, 255]:
        raise Wrong(f"-1.3, -1.02, 1.02 and 1.3 become {beyond}: bytes wrap around; limit the range with clamp first.")


@exercise("2.3")
def epoch(answer: Callable) -> None:
    """answer(images, batch_size) yields batches: each image once, in a new random order at each call."""
    images = torch.arange(300.0).reshape(300, 1, 1, 1).repeat(1, 1, 28, 28)
    orders = []
    for _ in range(2):
        batches = answer(images, 64)
        if not hasattr(batches, "__iter__"):
            raise Wrong(f"Your function returned {batches!r}: hand each batch out with yield.")
        batches = list(itertools.islice(batches, 301))
        if not batches or any(batch.shape[1:] != images.shape[1:] for batch in batches):
            raise Wrong("Each batch must have the shape (N, 1, 28, 28).")
        sizes = [len(batch) for batch in batches]
        together = torch.cat(batches)
        order = together[:, 0, 0, 0].long()
        if sizes == [64, 64, 64, 64]:
            raise Wrong("The last batch, the smaller one with 44 of 300 images, is missing.")
        if len(order) == 300 and len(order.unique()) < 300:
            raise Wrong("Some images come twice and others never: draw one torch.randperm an epoch and cut it.")
        if sizes != [64, 64, 64, 64, 44]:
            raise Wrong(f"300 images in batches of 64 came as {sizes[:8]}; expected [64, 64, 64, 64, 44].")
        if (together[order.argsort()] != images).any():
            raise Wrong("The batches hold other values than the images: hand the images out as they are.")
        orders.append(order)
    if torch.equal(orders[0], torch.arange(300)):
        raise Wrong("The images come in their own order: shuffle them with torch.randperm.")
    if all((batch[:, 0, 0, 0].diff() == 1).all() for batch in batches):
        raise Wrong("Only the order of the batches is random; the images within them must be mixed too.")
    if torch.equal(*orders):
        raise Wrong("Two epochs have the same order: draw the permutation anew at each call, without a fixed seed.")
