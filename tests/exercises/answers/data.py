"""Right and wrong answers to the exercises of notebook 02."""

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from labutils.data import unscale

CASES = {}  # number -> (right answers, wrong ones with their sentences)
NEAR = {}  # number -> answers that are only nearly right, with their sentences


def normalised(x):
    return (x.float() / 255 - 0.5) / 0.5


def normalised_in_place(pixels):
    out = normalised(pixels)
    pixels.zero_()
    return out


CASES["2.1"] = (
    [
        normalised,
        lambda x: x.float() / 127.5 - 1,
        lambda x: 2 * (x / 255) - 1,
        lambda x: (torch.arange(256) / 127.5 - 1)[x.long()],
        lambda x: torch.stack([normalised(image) for image in x]),
        lambda x: torch.from_numpy((x.numpy() / 255 - 0.5) / 0.5).float(),
    ],
    [
        (lambda x: x / 255, "ToTensor alone"),
        (lambda x: x / 255 - 0.5, "divide by 0.5"),
        (lambda x: (x / 255 - 0.1307) / 0.3081, "mean 0 and deviation 1"),
        (lambda x: (x - 128) / 128, "Bytes wrap around below 0"),
        (lambda x: 2 * x / 255 - 1, "Bytes wrap around below 0"),
        (lambda x: (x.float() / 256 - 0.5) / 0.5, "At the byte 255 you return 0.9922; expected 1.0000."),
        (lambda x: normalised(x).double(), "expected torch.float32"),
        (lambda x: normalised(x)[:, None], "the shape (2, 1, 28, 28)"),
        (lambda x: normalised(x).tolist(), "must return a tensor"),
        (normalised_in_place, "changes pixels, which belongs to the caller"),
        (lambda x: x.undefined, "raised AttributeError"),
    ],
)


def stretched(x):
    x = x.float()
    return 2 * (x - x.min()) / (x.max() - x.min()) - 1


NEAR["2.1"] = [
    (stretched, "You stretch each batch by its own darkest and brightest pixel"),
    (lambda x: (x.float() / 255 - 0.5) / 0.5 + 1e-4, "you return -0.9999; expected -1.0000"),
    (lambda x: normalised(x).half().float(), "At the byte"),
    (lambda x: torch.where(x == 128, 0.0, normalised(x)), "At the byte 128 you return 0.0000; expected 0.0039."),
    (lambda x: torch.full(x.shape, torch.nan), "you return nan"),
    (lambda x: normalised(x).requires_grad_() if torch.set_grad_enabled(False) is None else x, "gradients switched"),
]


def as_bytes(x, rounded=True, clamped=True):
    values = x.clamp(-1, 1) if clamped else x
    values = (values + 1) * 127.5
    return (values.round() if rounded else values).to(torch.int64).to(torch.uint8)  # int64: wraps on every machine


CASES["2.2"] = (
    [
        as_bytes,
        lambda x: ((x * 0.5 + 0.5) * 255 + 0.5).clamp(0, 255).byte(),
        lambda x: as_bytes(x.double()),
        unscale,
        lambda x: torch.bucketize(x, (torch.arange(255) + 0.5) / 127.5 - 1).byte(),
    ],
    [
        (lambda x: as_bytes(x, rounded=False), "round first"),
        (lambda x: as_bytes(x, clamped=False), "limit the range with clamp"),
        (lambda x: (x / 2 + 0.5).round().to(torch.uint8), "multiply by 255"),
        (lambda x: (x * 255).clamp(0, 255).round().to(torch.uint8), "do not come back"),
        (lambda x: (x + 1) * 127.5, "expected torch.uint8"),
        (lambda x: as_bytes(x.clamp_(-0.9, 0.9)), "changes x, which belongs to the caller"),
    ],
)


NEAR["2.2"] = [
    (lambda x: as_bytes(x.clamp_(-1, 1)), "changes x, which belongs to the caller"),
    (lambda x: as_bytes((x + 1e-4) * 1, rounded=False), "At the value"),
    (lambda x: as_bytes(x * 0.999), "At the value"),
    (lambda x: as_bytes(x).where(x > -1.2, 255), "At the value -1.3000 you return 255.0000; expected 0.0000."),
]


def batches(draw=torch.randperm, size=lambda n: n, keep_last=True):
    """An answer to exercise 2.3; the defaults give a right one."""

    def answer(images, batch_size):
        order, batch_size = draw(len(images)), size(batch_size)
        for start in range(0, len(order), batch_size):
            batch = images.index_select(0, order[start : start + batch_size])
            if keep_last or len(batch) == batch_size:
                yield batch

    return answer


def batches_of_shuffled_blocks(images, batch_size):
    blocks = list(images.split(batch_size))
    last = blocks.pop()
    yield from reversed(blocks)  # a draw of four blocks would often enough give them in order
    yield last


CASES["2.3"] = (
    [
        batches(),
        lambda images, batch_size: list(images[torch.randperm(len(images))].split(batch_size)),
        lambda images, batch_size: (x for (x,) in DataLoader(TensorDataset(images), batch_size, shuffle=True)),
        batches(lambda n: torch.from_numpy(np.random.permutation(n))),  # noqa: NPY002
        batches(lambda n: torch.rand(n).argsort()),
    ],
    [
        (batches(keep_last=False), "the smaller one with 44 of 300 images, is missing"),
        (batches(lambda n: torch.randint(n, (n,))), "come twice"),
        (batches(torch.arange), "in their own order"),
        (batches(lambda n: torch.randperm(n, generator=torch.Generator().manual_seed(0))), "without a fixed seed"),
        (batches(size=lambda n: n // 2), "came as [32, 32,"),
        (lambda images, batch_size: batches()(2 * images, batch_size), "other values than the images"),
        (batches_of_shuffled_blocks, "Only the order of the batches is random"),
        (lambda images, batch_size: None, "with yield"),
        (lambda images, batch_size: (x.flatten(1) for x in batches()(images, batch_size)), "(N, 1, 28, 28)"),
        (lambda images, batch_size: iter(lambda: images[:batch_size], None), "came as [64, 64,"),
    ],
)


def first_batch_only(images, batch_size):
    return next(batches()(images, batch_size))


def seeded(images, batch_size):
    torch.manual_seed(0)
    yield from batches()(images, batch_size)


def last_batch_in_order(images, batch_size):
    whole = len(images) // batch_size * batch_size
    order = torch.cat([torch.randperm(whole), torch.arange(whole, len(images))])
    for part in order.split(batch_size):
        yield images[part]


def in_order(make):
    """An answer to exercise 2.3 whose order is what `make` says for n images."""
    return lambda images, batch_size: images[make(len(images))].split(batch_size)


def shuffled_pairs(n):
    return (torch.randperm(-(-n // 2))[:, None] * 2 + torch.arange(2)).flatten().clamp(max=n - 1)


NEAR["2.3"] = [
    (in_order(lambda n: torch.arange(n).roll(int(torch.randint(1, n, ())))), "lie together in the file"),
    (in_order(lambda n: torch.cat([torch.randperm(n // 2), torch.randperm(n - n // 2) + n // 2])), "lie together"),
    (in_order(shuffled_pairs), "lie together in the file"),
    (in_order(lambda n: torch.arange(n - 1, -1, -1)), "lie together in the file"),
    (lambda images, size: (x.double() for x in batches()(images, size)), "A batch is a torch.float64 (64, 1, 28, 28)"),
    (lambda images, size: [list(x) for x in batches()(images, size)], "A batch is a list"),
    (first_batch_only, "returned (64, 1, 28, 28) and was over: hand each batch out with yield, not return"),
    (seeded, "sets the random seed"),
    (last_batch_in_order, "The last batch always holds the last images"),
    (lambda images, batch_size: batches()(images[:-1], batch_size), "came as [64, 64, 64, 64, 43]"),
]
