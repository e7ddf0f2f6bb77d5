"""Files in MNIST's format, for the tests of own data."""

import gzip

import torch


def idx(values: torch.Tensor) -> bytes:
    """A uint8 tensor in IDX format."""
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.dim()]) + sizes + values.numpy().tobytes()


def write(folder, images, labels, split="train", packed=False):
    """Write two IDX files in MNIST's names into a folder; returns (images file, labels file)."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for kind, values in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
        file = folder / f"{split}-{kind}{'.gz' if packed else ''}"
        file.write_bytes(gzip.compress(idx(values)) if packed else idx(values))
        files.append(file)
    return files
