"""Checks of notebook 02: bytes to numbers and back, and batches in random order."""

import itertools

import torch
from torch import Tensor

from labutils.exercises.answer import Exercise
from labutils.exercises.expect import AT, Wrong, expect, expect_tensor, kind, shown


class normalise(Exercise, number="2.1"):
    """answer(pixels uint8 (N, 28, 28)) -> float32 in [-1, 1], as ToTensor and Normalize((0.5,), (0.5,)) do."""

    def cases(self):
        every = torch.arange(2 * 28 * 28).remainder(256).to(torch.uint8).reshape(2, 28, 28)
        pale = torch.randint(40, 200, (3, 28, 28), generator=torch.Generator().manual_seed(2)).to(torch.uint8)
        return [{"pixels": every}, {"pixels": pale}, {"pixels": torch.full((1, 28, 28), 7, dtype=torch.uint8)}]

    def judge(self, case, seen):
        pixels = case["pixels"]
        out, x = expect_tensor(seen["out"], pixels.shape, torch.float32), pixels.float()
        low, high, wrapped = x.min(), x.max(), ((pixels - 128) / 128, 2 * pixels / 255 - 1)
        mistakes = [
            (x / 255, "The values lie in [0, 1]: that is ToTensor alone; Normalize((0.5,), (0.5,)) comes after it."),
            (x / 255 - 0.5, "The values lie in [-0.5, 0.5]: after subtracting 0.5, divide by 0.5."),
            ((x / 255 - 0.1307) / 0.3081, "That gives mean 0 and deviation 1; here the range [-1, 1] is wanted."),
            (1 - x / 127.5, "Black became 1 and white -1: the other way round."),
            (x, "Those are the bytes as they were: divide by 255, then shift and stretch."),
            (2 * (x - low) / (high - low) - 1, "You stretch each batch by its own darkest and brightest pixel, so one "
             "byte means different values in different batches: 0 and 255 are the ends of all."),
            *((value, "Bytes wrap around below 0 and above 255: convert to float first.") for value in wrapped),
        ]  # fmt: skip
        names = [f"the byte {value}" for value in pixels.flatten().tolist()]
        expect(out, x / 127.5 - 1, mistakes, AT, 1e-6, 1e-6, 1e-4, names)


class to_pixels(Exercise, number="2.2"):
    """answer(images float32 in about [-1, 1]) -> uint8 0..255, the inverse of exercise 2.1."""

    def cases(self):
        bytes_ = (torch.arange(256.0).reshape(1, 1, 16, 16) / 255 - 0.5) / 0.5
        between = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(3)) * 2 - 1
        beyond = torch.tensor([-1.3, -1.02, 1.02, 1.3]).reshape(1, 1, 2, 2)
        return [{"images": bytes_}, {"images": beyond}, {"images": between}]

    def judge(self, case, seen):
        images = case["images"]
        out = expect_tensor(seen["out"], images.shape, torch.uint8)
        exact = (images.double().clamp(-1, 1) + 1) * 127.5
        right, lost = exact.round(), exact.round() - out.double()
        tie = (exact - exact.floor() - 0.5).abs() < 1e-3  # either neighbour will do
        if not (lost.abs() > tie.double()).any():
            return
        cut, raw = exact.floor(), (images + 1) * 127.5
        mistakes = [
            (cut, f"{int((lost != 0).sum())} of {lost.numel()} values are one too small: uint8 cuts off: round first."),
            ((exact + 1e-3).floor(), "Values between two bytes are cut off: round to the nearest byte."),
            ((images / 2 + 0.5).clamp(0, 1).round(), "Only 0 and 1 come back: multiply by 255 before the conversion."),
            (raw.round().long() % 256, "Bytes wrap around beyond [-1, 1]: limit the range with clamp first."),
        ]  # fmt: skip
        names = [f"the value {value:.4f}" for value in images.flatten().tolist()]
        lead = f"Of 256 byte values, {int((lost != 0).sum())} do not come back as they were. " * (images.numel() == 256)
        expect(out, right, mistakes, lead + AT, atol=0.5, rtol=0, names=names)


class epoch(Exercise, number="2.3"):
    """answer(images, batch_size) yields batches: each image once, in a new random order at each call."""

    may_change = frozenset({"random"})

    def cases(self):
        return [{"n": 300, "batch": 64}, {"n": 12, "batch": 4}, {"n": 5, "batch": 8}]

    def perform(self, answer, case):
        images, epochs, most = self._images(case["n"]), [], case["n"] // case["batch"] + 9
        for _ in range(2):
            batches = answer(images, case["batch"])
            if isinstance(batches, Tensor) or not hasattr(batches, "__iter__"):
                return {"returned": batches, "epochs": []}
            epochs.append(list(itertools.islice(batches, most)))
        return {"returned": None, "epochs": epochs}

    def _images(self, n: int) -> Tensor:
        return torch.arange(float(n)).reshape(n, 1, 1, 1).repeat(1, 1, 28, 28)

    def judge(self, case, seen):
        if not seen["epochs"]:
            what = tuple(seen["returned"].shape) if isinstance(seen["returned"], Tensor) else shown(seen["returned"])
            raise Wrong(f"Your function returned {what} and was over: hand each batch out with yield, not return.")
        orders = [self._order(batches, case["n"], case["batch"]) for batches in seen["epochs"]]
        if case["n"] < 300:
            return  # few images may come in any order
        if torch.equal(orders[0], torch.arange(300)):
            raise Wrong("The images come in their own order: shuffle them with torch.randperm.")
        if all((batch.diff() == 1).all() for batch in orders[0].split(64)):
            raise Wrong("Only the order of the batches is random; the images within them must be mixed too.")
        if torch.equal(orders[0].split(64)[-1].sort().values, torch.arange(256, 300)):
            raise Wrong("The last batch always holds the last images: shuffle before you cut.")
        together = torch.corrcoef(torch.stack([torch.arange(300.0), orders[0].float()]))[0, 1].abs() > 0.35  # 6 sigma
        if together or (orders[0].diff() % 300).bincount().max() > 60:  # 5 of a random order
            raise Wrong("Images that lie together in the file still come together: torch.randperm(len(images)) mixes.")
        if torch.equal(*orders):
            raise Wrong("Two epochs have the same order: draw the permutation anew at each call, without a fixed seed.")

    def _order(self, batches: list, n: int, size: int) -> Tensor:
        """The numbers of the images in the order in which they came."""
        sizes = [min(size, n - start) for start in range(0, n, size)]
        for batch in batches:
            what = f"{batch.dtype} {tuple(batch.shape)}" if isinstance(batch, Tensor) else kind(batch)
            if not isinstance(batch, Tensor) or batch.dtype != torch.float32 or tuple(batch.shape[1:]) != (1, 28, 28):
                raise Wrong(f"A batch is a {what}; each must be a tensor torch.float32 (N, 1, 28, 28), as images are.")
        found = [len(batch) for batch in batches]
        if n % size and found == sizes[:-1]:
            raise Wrong(f"The last batch, the smaller one with {n % size} of {n} images, is missing.")
        if found != sizes:
            raise Wrong(f"{n} images in batches of {size} came as {found[:8]}; expected {sizes[:8]}.")
        together = torch.cat(batches)
        order = together[:, 0, 0, 0].long()
        images = self._images(n)
        if not torch.equal(images[order.clamp(0, n - 1)], together):
            raise Wrong("The batches hold other values than the images: hand the images out as they are.")
        if len(order.unique()) < n:
            raise Wrong("Some images come twice and others never: draw one torch.randperm an epoch and cut it.")
        return order
