"""MNIST from the package itself, as tensors or as a DataLoader; other data sets in MNIST's file format alike."""

import math
import os
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from labutils.engine.idx import DataError, raw_folder, read_idx
from labutils.engine.paths import expanded

ASSETS = Path(__file__).parent / "assets" / "mnist"
FILES = {"train": "train", "test": "t10k"}  # the first word of the file names in MNIST's own layout


class Digits(NamedTuple):
    """images: float32 (N, 1, 28, 28) in [-1, 1]; labels: int64 (N,)."""

    images: Tensor
    labels: Tensor


def load_mnist(split: str = "train", root: str | Path | None = None) -> Digits:
    """Load `split` ("train": 60,000 digits, "test": 10,000) into memory; nothing is downloaded, ever.

    Callers share one copy in memory, 188 MB. Who writes into it has his own from there on; others do not see it.

    Args:
        split: "train" or "test".
        root: None reads the copy inside the package, checked against its SHA-256. A folder in torchvision's layout
            (`root/MNIST/raw/train-images-idx3-ubyte`, plain or .gz; FashionMNIST and KMNIST too) is read instead.
            The environment variable LABUTILS_DATA does the same where `root` is not given.
    Returns:
        Digits(images, labels): float32 (N, 1, 28, 28) in [-1, 1], equal to `ToTensor` and then
        `Normalize((0.5,), (0.5,))`; int64 (N,).
    Raises:
        DataError: a file is missing, truncated, altered or not IDX; a sentence says which.
    """
    if split not in [*FILES]:
        raise DataError(f"There is no split {split!r}; use one of {', '.join(map(repr, FILES))}.")
    root = root or os.environ.get("LABUTILS_DATA") or None
    images_file, labels_file = f"{FILES[split]}-images-idx3-ubyte", f"{FILES[split]}-labels-idx1-ubyte"
    folder = ASSETS if root is None else raw_folder(expanded(root), images_file, FILES.values())
    images = read_idx(folder, images_file, 3, root is None, lambda pixels: scale(pixels).unsqueeze(1))
    labels = read_idx(folder, labels_file, 1, root is None, Tensor.long)
    found = f"In {folder}, {images_file} holds"
    if len(images) != len(labels):
        counts = f"{len(images)} images but {labels_file} {len(labels)} labels"
        raise DataError(f"{found} {counts}; they must be as many. Copy both files again from one place.")
    if images.shape[2:] != (28, 28):
        size = tuple(images.shape[2:])
        raise DataError(f"{found} images of {size} pixels; the networks here take (28, 28). Resize them first.")
    return Digits(images, labels)


def scale(pixels: Tensor) -> Tensor:
    """uint8 0..255 to float32 in [-1, 1], by the same arithmetic as ToTensor and Normalize((0.5,), (0.5,))."""
    return pixels.float().div_(255).sub_(0.5).div_(0.5)


def unscale(images: Tensor) -> Tensor:
    """Images in [-1, 1], such as a generator's, back to uint8 0..255; the inverse of `scale`."""
    return images.detach().float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)


def check_images(images: Tensor, least: int, generated: bool = False) -> Tensor:
    """The images themselves, float32 and without gradient, after a look at their type, shape, number and range.

    Args:
        images: (N, 1, 28, 28) in [-1, 1], on any device; they stay there, and float32 is not copied.
        least: how many there must be.
        generated: those of a generator may be of any float type, 1e-4 beyond the range, and of a single grey.
    Raises:
        ValueError: a sentence says what was found, what was expected and what to do.
    """
    kind, slack = ("float", 1e-4) if generated else ("float32", 0)
    expected = f"expected a {kind} tensor (N, 1, 28, 28) in [-1, 1], N at least {least:,}"
    if not isinstance(images, Tensor) or images.layout != torch.strided or images.is_nested or images.is_meta:
        how = ", but sparse, nested or without values" if isinstance(images, Tensor) else ""
        raise ValueError(f"images is of type {type(images).__name__}{how}; {expected}.")
    if not (images.dtype == torch.float32 or (generated and images.is_floating_point())):
        advice = "try images.float()" if images.is_floating_point() else "see labutils.data.scale"
        raise ValueError(f"images is {images.dtype}; {expected}: {advice}.")
    if images.shape[1:] != (1, 28, 28):
        advice = ": try images.reshape(-1, 1, 28, 28)" if images.shape[1:].numel() == 784 else ""
        raise ValueError(f"images has shape {tuple(images.shape)}; {expected}{advice}.")
    if len(images) < least:
        found = "1 image is" if len(images) == 1 else f"{len(images):,} images are"
        purpose = " to measure variety (10,000 is usual)" if generated else ""
        raise ValueError(f"{found} too few{purpose}; {expected}.")
    images = images.detach().as_subclass(Tensor).float()
    low, high = (float(bound) for bound in images.aminmax())
    if not math.isfinite(high - low):
        broken = int((~images.isfinite()).flatten(1).any(1).sum())
        advice = "see where the training diverged" if generated else "leave them out"
        raise ValueError(f"{broken:,} of {len(images):,} images hold NaN or infinity: {advice}.")
    found = f"images lie in [{low:g}, {high:g}]"
    if low < -1 - slack or high > 1 + slack:
        raise ValueError(f"{found}; expected [-1, 1], black being -1: see labutils.data.scale.")
    if low >= 0 and not (generated and (low >= 0.1 or high <= 0.5)):  # a dead generator's single grey passes
        raise ValueError(f"{found}, which looks like [0, 1]; expected [-1, 1], black being -1: try images * 2 - 1.")
    return images


def make_loader(digits: Digits, batch_size: int = 128, shuffle: bool = True, workers: int = 0) -> DataLoader:
    """A DataLoader over (image (1, 28, 28), label) pairs. workers=0: workers hang in notebooks on Windows and macOS."""
    return DataLoader(TensorDataset(*digits), batch_size=batch_size, shuffle=shuffle, num_workers=workers)
