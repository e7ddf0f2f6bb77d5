"""Files in MNIST's own format, IDX (Yann LeCun, Corinna Cortes, Christopher J. C. Burges), plain or packed by gzip."""

import gzip
import hashlib
import math
import os
import zlib
from pathlib import Path

import torch
from torch import Tensor


class DataError(ValueError):
    """A data file is missing, damaged or not in MNIST's format; the message says which and what to do."""


def raw_folder(root: Path, images: str) -> Path:
    """The folder below `root` that holds the file `images`, plain or .gz, in torchvision's layout or directly."""
    isfile, isdir = os.path.isfile, os.path.isdir  # False where Path's raise: no permission, a name too long
    others = sorted(root.glob("*/raw")) if isdir(root) else []
    candidates = [root / "MNIST" / "raw", root, root / "raw", *others]
    found = [c for c in dict.fromkeys(candidates) if isfile(c / images) or isfile(c / f"{images}.gz")]
    if not found:
        raise DataError(
            f"No {images} (plain or .gz) below {root}; expected torchvision's layout, MNIST/raw/{images}. "
            "Leave root and LABUTILS_DATA unset to use the copy inside the package."
        )
    if len(found) > 1 and found[0] not in candidates[:3]:
        names = ", ".join(c.parent.name for c in found)
        raise DataError(f"{root} holds several data sets ({names}); name one of their folders as root.")
    return found[0]


def read_idx(folder: Path, name: str, dims: int, checked: bool) -> Tensor:
    """An IDX file (magic, sizes, then uint8 values) as a uint8 tensor of `dims` dimensions.

    `checked`: it must have the SHA-256 that the file SHA256SUMS beside it says.
    """
    path = folder / name if (folder / name).is_file() else folder / f"{name}.gz"
    advice = "Reinstall labutils." if checked else "Copy the file again from where it came."
    try:
        raw = path.read_bytes()
        line = f"{hashlib.sha256(raw).hexdigest()}  {path.name}"
        genuine = not checked or line in (folder / "SHA256SUMS").read_text("utf8").splitlines()
    except OSError as error:
        raise DataError(f"The data file {error.filename or path} cannot be read ({error.strerror}). {advice}") from None
    if not genuine:
        raise DataError(f"{path} is not the file that labutils was made with: its SHA-256 differs. {advice}")
    try:
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a complete gzip file ({error}). {advice}") from None
    header = 4 + 4 * dims
    if len(raw) < header or raw[:4] != bytes([0, 0, 8, dims]):
        raise DataError(f"{path} is not an IDX file of uint8 in {dims}-D: it starts with {raw[:4]!r}. {advice}")
    shape = [int.from_bytes(raw[i : i + 4], "big") for i in range(4, header, 4)]
    if len(raw) - header != math.prod(shape) or 0 in shape:
        sizes = " x ".join(map(str, shape))
        raise DataError(f"{path} should hold {sizes} values of one byte but holds {len(raw) - header}. {advice}")
    return torch.frombuffer(bytearray(raw[header:]), dtype=torch.uint8).reshape(shape)
